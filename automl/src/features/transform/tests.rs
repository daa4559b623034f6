//! Derived columns: the numbers a person would work out by hand, and the caps.

use super::*;

fn derived(transform: &str, columns: &[&str], parameters: serde_json::Value) -> Derived {
    Derived {
        name: "it".to_owned(),
        transform: transform.to_owned(),
        columns: columns.iter().map(|&c| c.to_owned()).collect(),
        parameters,
    }
}

fn value(derived: &Derived, cells: &[Cell<'_>]) -> Option<f64> {
    derived.function().expect("a function")(cells)
}

#[test]
fn dates_have_parts_and_distances() {
    let day = Cell::Text("2024-02-29T10:00");
    for (part, expected) in [
        ("year", 2024.0),
        ("month", 2.0),
        ("day", 29.0),
        ("weekday", 4.0),
    ] {
        let column = derived("date_part", &["d"], part.into());
        assert_eq!(value(&column, &[day]), Some(expected), "{part}");
        assert_eq!(value(&column, &[Cell::Missing]), None);
        assert_eq!(value(&column, &[Cell::Number(3.0)]), None);
    }
    let between = derived("date_difference", &["a", "b"], serde_json::Value::Null);
    assert_eq!(
        value(&between, &[Cell::Text("2023-02-28"), day]),
        Some(366.0)
    );
}

#[test]
fn codes_stand_in_the_order_of_a_code_book() {
    let column = derived("code_number", &["diagnosis"], serde_json::Value::Null);
    for (code, expected) in [
        (Cell::Number(250.83), Some(250.83)),
        (Cell::Text("428"), Some(428.0)),
        (Cell::Text("V27"), Some(22_027.0)),
        (Cell::Text("i25.1"), Some(9025.1)),
        (Cell::Text("Vienna"), None),
        (Cell::Text("1e5"), None),
        (Cell::Text("-3"), None),
        (Cell::Text("."), None),
        (Cell::Text("é5"), None),
        (Cell::Text(""), None),
        (Cell::Missing, None),
    ] {
        assert_eq!(value(&column, &[code]), expected, "{code:?}");
    }
    let twice = derived("code_number", &["a", "b"], serde_json::Value::Null);
    assert!(twice.function().is_err());
}

#[test]
fn pairs_are_subtracted_and_divided() {
    let cells = [Cell::Number(3.0), Cell::Number(4.0)];
    let none = serde_json::Value::Null;
    assert_eq!(
        value(&derived("difference", &["a", "b"], none.clone()), &cells),
        Some(-1.0)
    );
    assert_eq!(
        value(&derived("ratio", &["a", "b"], none.clone()), &cells),
        Some(0.75)
    );
    let by_zero = [Cell::Number(3.0), Cell::Number(0.0)];
    assert_eq!(
        value(&derived("ratio", &["a", "b"], none.clone()), &by_zero),
        None
    );
    assert_eq!(
        value(
            &derived("ratio", &["a", "b"], none),
            &[Cell::Text("x"), Cell::Number(1.0)]
        ),
        None
    );
}

#[test]
fn what_no_transform_can_make_is_refused() {
    let none = serde_json::Value::Null;
    for (bad, word) in [
        (
            derived("cube", &["a"], none.clone()),
            "knows no feature transform",
        ),
        (derived("ratio", &["a"], none.clone()), "two columns"),
        (derived("date_part", &["a"], "hour".into()), "weekday"),
        (derived("ratio", &[], none.clone()), "no column"),
        (
            derived("ratio", &["a", "b"], "x".repeat(2000).into()),
            "too long",
        ),
    ] {
        let error = bad.function().err().expect("refused");
        assert!(error.contains(word), "{error}");
    }
}

#[derive(Debug)]
struct Cube;

impl Transform for Cube {
    fn name(&self) -> &'static str {
        "test_cube"
    }
    fn suggest(&self, _: &[Known<'_>]) -> Vec<Derived> {
        Vec::new()
    }
    fn function(&self, _: &Derived) -> Result<Function, String> {
        Ok(Box::new(|cells| match cells {
            [Cell::Number(x)] => Some(x * x * x),
            _ => None,
        }))
    }
}

#[test]
fn others_register_their_own_by_name() {
    static CUBE: Cube = Cube;
    register(&CUBE).expect("a new name");
    assert!(register(&CUBE).is_err(), "the name is taken");
    let column = derived("test_cube", &["a"], serde_json::Value::Null);
    assert_eq!(value(&column, &[Cell::Number(2.0)]), Some(8.0));
}
