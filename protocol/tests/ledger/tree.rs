//! Hashing, proofs and names, against published vectors and against each other.

use collegium_protocol::Digest;
use collegium_protocol::ledger::tile::TileName;
use collegium_protocol::ledger::tree::{
    Nodes, Tree, check_consistency, check_inclusion, empty_root, fold, leaf_hash,
    prove_consistency, prove_inclusion, root_at,
};

/// Entries and roots of the test vectors that Certificate Transparency's implementations share.
const ENTRIES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// All leaves in memory.
struct Leaves(Vec<Digest>);

impl Nodes for Leaves {
    type Error = std::convert::Infallible;

    fn node(&mut self, height: u32, index: u64) -> Result<Digest, Self::Error> {
        let (start, width) = ((index << height) as usize, 1 << height);
        Ok(fold(&self.0[start..start + width]).expect("leaves"))
    }
}

fn leaves(count: u64) -> Leaves {
    Leaves((0..count).map(|it| leaf_hash(&it.to_be_bytes())).collect())
}

#[test]
fn roots_are_those_of_rfc_6962() {
    let mut tree = Tree::default();
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(tree.root().to_string(), *root, "of {size} entries");
        if let Some(entry) = ENTRIES.get(size) {
            tree.push(leaf_hash(entry));
        }
    }
    assert_eq!(empty_root().to_string(), ROOTS[0]);
}

#[test]
fn the_edge_of_a_growing_tree_has_the_root_of_all_its_leaves() {
    let mut all = leaves(70_000);
    let mut tree = Tree::default();
    let mut full = Vec::new();
    for leaf in all.0.clone() {
        full.extend(tree.push(leaf).into_iter().map(|tile| tile.name));
        let size = tree.size();
        if size < 600 || [65_535, 65_536, 65_537, 70_000].contains(&size) {
            let Ok(root) = root_at(&mut all, size);
            assert_eq!(tree.root(), root, "at {size}");
            let edge = (0..tree.levels()).map(|level| tree.edge(level).to_vec());
            let again = Tree::from_edge(size, edge.collect());
            assert_eq!(again.as_ref(), Some(&tree), "at {size}");
        }
    }
    // The specification's own example.
    assert_eq!(full.len(), 273 + 1);
    let widths = (0..3).map(|level| TileName::partial(level, 70_000).map(|tile| tile.width));
    assert_eq!(widths.collect::<Vec<_>>(), [Some(112), Some(17), Some(1)]);
    assert_eq!(TileName::partial(0, 256), None);
    assert_eq!(TileName::partial(1, 256), Some(TileName::hashes(1, 0, 1)));
    assert_eq!(Tree::from_edge(70_000, vec![Vec::new(); 3]), None);
}

#[test]
fn names_of_tiles_are_those_of_the_specification() {
    for (name, path) in [
        (TileName::hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (TileName::hashes(63, 0, 1), "tile/63/000.p/1"),
        (TileName::entries(999, 255), "tile/entries/999.p/255"),
        (TileName::entries(1000, 256), "tile/entries/x001/000"),
    ] {
        assert_eq!(name.to_string(), path);
        assert_eq!(TileName::parse(path), Some(name));
    }
    for path in [
        "tile/0/0",
        "tile/00/000",
        "tile/0/000.p/256",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/300",
        "tile/64/000",
        "tile/0/x000/001",
        "tile/0/x001/x002",
        "tile/entries/001/x002",
        "tile/data/000",
        "tile/0/-01",
        "tile/0/+01",
        "tile/0/x99999999999999999999/000",
    ] {
        assert_eq!(TileName::parse(path), None, "{path}");
    }
}

#[test]
fn proofs_hold_for_every_pair_and_for_nothing_else() {
    const MOST: u64 = 70;
    let mut all = leaves(MOST);
    let roots: Vec<Digest> = (0..=MOST)
        .map(|size| {
            let Ok(root) = root_at(&mut all, size);
            root
        })
        .collect();
    let wrong = leaf_hash(b"another");
    for size in 1..=MOST {
        let root = roots[size as usize];
        for index in 0..size {
            let Ok(proof) = prove_inclusion(&mut all, index, size);
            let leaf = all.0[index as usize];
            assert!(check_inclusion(&proof, leaf, index, size, &root));
            assert!(!check_inclusion(&proof, wrong, index, size, &root));
            assert!(!check_inclusion(&proof, leaf, index, size, &wrong));
            assert!(!check_inclusion(&proof, leaf, size, size, &root));
            for place in 0..proof.len() {
                let mut changed = proof.clone();
                changed[place] = wrong;
                assert!(!check_inclusion(&changed, leaf, index, size, &root));
            }
        }
        for old in 0..=size {
            let Ok(proof) = prove_consistency(&mut all, old, size);
            let before = roots[old as usize];
            assert!(
                check_consistency(&proof, old, &before, size, &root),
                "{old} in {size}"
            );
            assert!(
                !check_consistency(&proof, old, &wrong, size, &root),
                "{old} in {size}"
            );
            if old > 0 {
                assert!(
                    !check_consistency(&proof, old, &before, size, &wrong),
                    "{old} in {size}"
                );
            }
            for place in 0..proof.len() {
                let mut changed = proof.clone();
                changed[place] = wrong;
                assert!(!check_consistency(&changed, old, &before, size, &root));
            }
            let longer = [proof.as_slice(), &[wrong]].concat();
            assert!(!check_consistency(&longer, old, &before, size, &root));
        }
    }
}
