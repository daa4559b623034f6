//! Asks, objects, tasks, column maps and tables.

use collegium_automl::ask::{Ask, MAX_ASK_BYTES, MAX_CODE, MAX_NUMBERS};
use collegium_automl::model::Champion;
use collegium_automl::object::Object;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

/// What a coordinator asks a site to compute. The shape that the node derives from an accepted ask
/// is bounded.
pub fn ask(bytes: &[u8]) {
    let Ok(ask) = Ask::from_bytes(bytes, MAX_ASK_BYTES) else {
        return;
    };
    assert!((1..=MAX_NUMBERS).contains(&ask.numbers()));
    let segments = ask.segments();
    assert!(
        segments
            .iter()
            .all(|segment| (1..=MAX_CODE).contains(&segment.max_code()))
    );
    let written = ask.to_bytes().expect("it was accepted");
    assert_eq!(
        Ask::from_bytes(&written, MAX_ASK_BYTES).expect("its own bytes"),
        ask
    );
    let _ = ask.objects();
}

/// Pipelines, models and champions.
pub fn object(bytes: &[u8]) {
    if let Ok(object) = Object::from_bytes(bytes) {
        let written = object.to_bytes().expect("it was accepted");
        assert_eq!(Object::from_bytes(&written).expect("its own bytes"), object);
    }
    if let Ok(champion) = Champion::from_bytes(bytes) {
        let written = champion.to_bytes().expect("it was accepted");
        assert!(Champion::from_bytes(&written).is_ok());
        assert!(champion.fold_model().is_ok());
    }
}

/// A task: the file that a person writes, and its canonical form.
pub fn task(bytes: &[u8]) {
    let _ = Task::from_bytes(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(task) = Task::from_toml(text) {
        let written = task.to_bytes();
        assert_eq!(
            Task::from_bytes(&written)
                .expect("its own bytes")
                .to_bytes(),
            written
        );
    }
}

/// A site's own map of its columns.
pub fn column_map(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(map) = TableMapping::from_toml(text) else {
        return;
    };
    let _ = Table::read("fuzz", "a,b;c\n1,x;2\n".as_bytes(), &map);
}

/// A site's table: whatever is in the file, a table or an error that names the place.
pub fn table(bytes: &[u8]) {
    let Ok(table) = Table::read("fuzz", bytes, &TableMapping::default()) else {
        return;
    };
    assert!(table.rows() > 0);
    assert!(!table.columns().is_empty());
}
