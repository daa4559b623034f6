//! The walkthrough of `examples/banks`, typed as it stands there.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;

use crate::consortium::{arg, copy, repository};
use crate::page::{Reader, typed};

/// The address on the page, in whose place the system chooses one.
const ADDRESS: &str = "127.0.0.1:4433";

const BANKS: [&str; 5] = ["bank-a", "bank-b", "bank-c", "bank-d", "bank-e"];

fn example(path: &str) -> PathBuf {
    repository("examples/banks").join(path)
}

#[test]
fn the_walkthrough_is_what_happens() {
    let directory = tempfile::tempdir().expect("a directory");
    let (folder, screens) = (
        directory.path().join("banks"),
        directory.path().join("seen"),
    );
    copy(&example(""), &folder);
    fs::create_dir(&screens).expect("a directory");
    let page = fs::read_to_string(example("README.md")).expect("the page");
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    drop(socket);
    let page = typed(&page.replace(ADDRESS, &address));
    Reader::new(&folder, &screens).follow(&page);
}

#[test]
fn the_tables_are_split_as_their_readme_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut header = String::new();
    let mut rows = Vec::new();
    for bank in BANKS {
        let text = fs::read_to_string(example(&format!("data/{bank}.csv"))).expect("a table");
        let (first, rest) = text.split_once('\n').expect("a header");
        header = first.to_owned();
        let id = |row: &str| row.split(',').next().and_then(|it| it.parse::<u32>().ok());
        rows.extend(
            rest.lines()
                .map(|row| (id(row).expect("an id"), row.to_owned())),
        );
    }
    rows.sort();
    assert_eq!(rows.len(), 30_000);
    let whole: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
    let table = directory.path().join("whole.csv");
    fs::write(&table, format!("{header}\n{}\n", whole.join("\n"))).expect("written");
    let split = Command::new("awk")
        .current_dir(directory.path())
        .args(["-F,", "-f", arg(&example("data/split.awk")), arg(&table)])
        .status()
        .expect("awk is part of the base system");
    assert!(split.success());
    let readme = fs::read_to_string(example("data/README.md")).expect("the README");
    for bank in BANKS {
        let made = fs::read_to_string(directory.path().join(format!("{bank}.csv")));
        let shipped = fs::read_to_string(example(&format!("data/{bank}.csv")));
        let made = made.expect("a table");
        assert!(made == shipped.expect("a table"), "{bank}");
        let defaults = made.lines().filter(|row| row.ends_with(",1")).count();
        let clients = made.lines().count() - 1;
        let share = 100.0 * defaults as f64 / clients as f64;
        let row = format!("| `{bank}.csv` | {clients} | {share:.1} % |");
        assert!(readme.contains(&row), "no {row}");
    }
}
