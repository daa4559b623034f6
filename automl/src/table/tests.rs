//! Reading CSV: the traps that real files hold.

use super::*;

fn read(text: &str) -> Table {
    mapped(text, "")
}

fn mapped(text: &str, mapping: &str) -> Table {
    let mapping = TableMapping::from_toml(mapping).expect("a mapping");
    Table::read("t.csv", text.as_bytes(), &mapping).expect("a table")
}

fn error(text: &[u8], mapping: &str) -> String {
    let mapping = TableMapping::from_toml(mapping).expect("a mapping");
    Table::read("t.csv", text, &mapping)
        .expect_err("must be refused")
        .to_string()
}

fn cells<'t>(table: &'t Table, column: &str) -> Vec<Cell<'t>> {
    let column = table.column(column).expect("the column");
    (0..table.rows()).map(|row| column.cell(row)).collect()
}

use Cell::{Missing, Number, Text};

#[test]
fn cells_are_read_alone() {
    let cases = [
        ("63.0", Number(63.0)),
        ("63", Number(63.0)),
        (".7", Number(0.7)),
        ("7.", Number(7.0)),
        ("-1", Number(-1.0)),
        ("+2.5e-3", Number(0.0025)),
        ("-0", Number(0.0)),
        ("0", Number(0.0)),
        ("007", Text("007")),
        ("00", Text("00")),
        ("0.5", Number(0.5)),
        ("123456789012345", Number(123_456_789_012_345.0)),
        ("1234567890123456", Text("1234567890123456")),
        ("1,000", Text("1,000")),
        ("1e", Text("1e")),
        ("1e5x", Text("1e5x")),
        ("--1", Text("--1")),
        (".", Text(".")),
        ("-", Text("-")),
        ("0x10", Text("0x10")),
        ("[70-80)", Text("[70-80)")),
        ("是", Text("是")),
        ("", Missing),
        ("NA", Missing),
        ("?", Missing),
        ("nan", Missing),
        ("None", Text("None")),
    ];
    for (text, expected) in cases {
        let table = read(&format!("a\tb\n{text}\tx\n"));
        let cell = table.columns()[0].cell(0);
        assert_eq!(cell, expected, "for {text:?}");
        if let Number(number) = cell {
            assert!(
                number.is_sign_positive() || number < 0.0,
                "negative zero for {text:?}"
            );
        }
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_name() {
    let table = read("\u{feff}age,y\n1,2\n");
    assert_eq!(table.columns()[0].name(), "age");
}

#[test]
fn windows_and_old_line_ends_are_fine() {
    for end in ["\r\n", "\n", "\r"] {
        let table = read(&format!("a,b{end}1,x{end}2,y{end}"));
        assert_eq!(
            cells(&table, "a"),
            [Number(1.0), Number(2.0)],
            "for {end:?}"
        );
        assert_eq!(cells(&table, "b"), [Text("x"), Text("y")], "for {end:?}");
    }
    // No line end at the end of the file.
    assert_eq!(read("a,b\n1,2").rows(), 1);
}

#[test]
fn delimiters_are_found_in_the_header() {
    for delimiter in [',', ';', '\t', '|'] {
        let table = read(&format!("a{delimiter}b\n1{delimiter}x\n"));
        assert_eq!(cells(&table, "b"), [Text("x")], "for {delimiter:?}");
    }
    // A comma inside quotes does not count.
    let table = read("\"a,b,c\";d\n1;2\n");
    assert_eq!(table.columns()[0].name(), "a,b,c");
    // One column has no delimiter at all.
    assert_eq!(read("a\n1\n2\n").rows(), 2);
    // The mapping has the last word.
    let table = mapped("a,b;c\n1,2;3\n", "delimiter = \";\"");
    assert_eq!(table.columns()[0].name(), "a,b");
    assert!(error(b"a,b\n1,2\n", "delimiter = \"x\"").contains("`x` cannot be the delimiter"));
}

#[test]
fn quotes_protect_delimiters_quotes_and_line_breaks() {
    let table = read("a,b\n\"1,5\",\"say \"\"hi\"\"\"\n\"two\nlines\",3\n");
    assert_eq!(cells(&table, "a"), [Text("1,5"), Text("two\nlines")]);
    assert_eq!(cells(&table, "b"), [Text("say \"hi\""), Number(3.0)]);
}

#[test]
fn blanks_around_cells_do_not_count() {
    let table = read(" a , b \n 1 ,  x \n ? , \n");
    assert_eq!(cells(&table, "a"), [Number(1.0), Missing]);
    assert_eq!(cells(&table, "b"), [Text("x"), Missing]);
}

#[test]
fn ragged_rows_are_refused_with_their_line() {
    assert_eq!(
        error(b"a,b\n1,2\n3\n", ""),
        "t.csv, line 3: 1 cells where the header has 2; check delimiter and quotes"
    );
    assert_eq!(
        error(b"a,b\n1,2,3\n", ""),
        "t.csv, line 2: 3 cells where the header has 2; check delimiter and quotes"
    );
}

#[test]
fn infinite_numbers_are_refused_unless_the_column_is_words() {
    let message = error(b"a,b\n1,2\ninf,3\n", "");
    assert!(
        message.starts_with("t.csv, line 3, column `a`: an infinite number"),
        "{message}"
    );
    assert!(error(b"a\n1\n-1e999\n", "").contains("infinite"));
    let table = mapped("a,b\n1,2\ninf,3\n", "[columns.a]\nmissing = [\"inf\"]");
    assert_eq!(cells(&table, "a"), [Number(1.0), Missing]);
    assert_eq!(
        cells(&read("a\ninf\nsup\n"), "a"),
        [Text("inf"), Text("sup")]
    );
}

#[test]
fn other_files_are_recognised() {
    for (bytes, word) in [
        (&b"\x1f\x8b\x08\x00"[..], "gzip"),
        (b"PAR1....", "Parquet"),
        (b"PK\x03\x04..", "spreadsheet"),
        (b"\xff\xfea\0,\0", "UTF-16"),
        (b"", "empty"),
        (b"\r\n\n", "empty"),
        (b"a,b\n", "no rows"),
        (b"\xd0\xd5\xc3\xfb,b\n1,2\n", "UTF-8"),
        (b"a,b\n\xd0\xd5,2\n", "UTF-8"),
    ] {
        let message = error(bytes, "");
        assert!(message.contains(word), "{word}: {message}");
    }
    let missing = Table::open(Path::new("/nowhere/x.csv"), &TableMapping::default());
    let message = missing.expect_err("no such file").to_string();
    assert!(
        message.contains("/nowhere/x.csv") && message.contains("check the path"),
        "{message}"
    );
}

#[test]
fn headers_must_be_names() {
    assert!(error(b"a,a\n1,2\n", "").contains("two columns are called `a`"));
    // Spreadsheets leave the name of the row number empty.
    assert_eq!(read(",b\n1,2\n").columns()[0].name(), "column_1");
    let long = "x".repeat(MAX_COLUMN_NAME_BYTES + 1);
    assert!(error(format!("{long},b\n1,2\n").as_bytes(), "").contains("not 65"));
    let many: Vec<String> = (0..=MAX_COLUMNS).map(|n| format!("c{n}")).collect();
    let text = format!("{}\n{}\n", many.join(","), vec!["1"; many.len()].join(","));
    assert!(error(text.as_bytes(), "").contains("513 columns are more than the 512"));
    // An open quote swallows the file; that must not eat memory for ever.
    let open = format!("\"a,b\n{}", "1,2\n".repeat(100_000));
    assert!(error(open.as_bytes(), "").contains("are its quotes closed?"));
    let open = format!("a,b\n\"1,2\n{}", "1,2\n".repeat(20_000));
    let message = error(open.as_bytes(), "");
    assert!(
        message.contains("quote") || message.contains("cells"),
        "{message}"
    );
}

const HOSPITAL: &str = r#"
drop = ["ward"]

[columns.disease]
from = "num"
values = { "2" = "1", "3" = "1", "4" = "1", "9" = "" }

[columns.chol]
missing = ["0"]
"#;

#[test]
fn a_mapping_renames_maps_drops_and_unsets() {
    let table = mapped(
        "num,chol,ward\n0,0.0,A\n3.0,212,B\n9,-0,C\n1,NA,D\n",
        HOSPITAL,
    );
    let names: Vec<_> = table.columns().iter().map(Column::name).collect();
    assert_eq!(names, ["disease", "chol"]);
    assert_eq!(
        cells(&table, "disease"),
        [Number(0.0), Number(1.0), Missing, Number(1.0)]
    );
    assert_eq!(
        cells(&table, "chol"),
        [Missing, Number(212.0), Missing, Missing]
    );
}

#[test]
fn a_mapping_that_does_not_fit_is_refused() {
    let text = b"num,chol\n1,2\n";
    for (mapping, expected) in [
        (
            "[columns.disease]\nfrom = \"nun\"",
            "names `nun`, which the file does not have; did you mean `num`?",
        ),
        ("drop = [\"kol\"]", "names `kol`"),
        (
            "[columns.chol]\nfrom = \"num\"",
            "two columns would be called `chol`",
        ),
        (
            "[columns.num]\nvalues = { \"1\" = \"a\", \"1.0\" = \"b\" }",
            "column `num`: value `1.0` is listed more than once",
        ),
    ] {
        let message = error(text, mapping);
        assert!(message.contains(expected), "{mapping}: {message}");
    }
    let unknown = TableMapping::from_toml("[columns.a]\nform = \"b\"").expect_err("a typing error");
    assert!(unknown.to_string().contains("form"), "{unknown}");
}

#[test]
fn a_column_overrules_the_general_list_of_missing_values() {
    let table = mapped(
        "country,code\nNA,-999\nDE,-999.0\n",
        "missing = [\"NA\", \"-999\"]\n[columns.country]\nvalues = { NA = \"Namibia\" }",
    );
    assert_eq!(cells(&table, "country"), [Text("Namibia"), Text("DE")]);
    assert_eq!(cells(&table, "code"), [Missing, Missing]);
}

#[test]
fn messages_hold_no_values() {
    let secret = "Zaphod";
    for text in [
        format!("a,b\n{secret}\n"),
        format!("a,b\n1,2,{secret}\n"),
        format!("a,b\n1,{secret}\ninf,{secret}\n"),
    ] {
        let message = error(text.as_bytes(), "");
        assert!(!message.contains(secret), "{message}");
    }
}

#[test]
fn the_digest_is_of_the_content() {
    let base = read("a,b\n1,x\n2,\n").digest();
    assert_eq!(
        base,
        read("\u{feff}b;a\r\n\"x\";1.0\r\nNA;2\r\n").digest(),
        "spelling"
    );
    assert_ne!(base, read("a,b\n2,\n1,x\n").digest(), "row order");
    assert_ne!(base, read("a,b\n1,x\n2,y\n").digest(), "a cell");
    assert_ne!(base, read("a,c\n1,x\n2,\n").digest(), "a name");
}

#[test]
fn dates_are_counted_in_days() {
    for (text, days) in [
        ("1970-01-01", Some(0)),
        ("1969-12-31", Some(-1)),
        ("2000-02-29", Some(11_016)),
        ("2024/3/5", Some(19_787)),
        ("2024年3月5日", Some(19_787)),
        ("2024-03-05T10:00:00Z", Some(19_787)),
        ("2024-03-05 10:00", Some(19_787)),
        ("1900-02-29", None),
        ("2023-13-01", None),
        ("2023-04-31", None),
        ("05/03/2024", None),
        ("2024-03", None),
        ("2024-03-05x", None),
        ("20240305", None),
    ] {
        assert_eq!(days_since_epoch(text), days, "for {text}");
    }
}

#[test]
fn a_thinned_table_has_rows_from_everywhere() {
    let mut text = "a,b\n".to_owned();
    for row in 0..10 {
        text.push_str(&format!("{row},{}\n", ["x", "y"][row % 2]));
    }
    let table = read(&text);
    let thin = table.thinned(4);
    assert_eq!(thin.rows(), 4);
    assert_eq!(
        cells(&thin, "a"),
        [0, 2, 5, 7].map(|n| Number(f64::from(n)))
    );
    assert_eq!(
        cells(&thin, "b"),
        [Text("x"), Text("x"), Text("y"), Text("y")]
    );
    assert_eq!(table.thinned(10).digest(), table.digest());
    assert_eq!(table.thinned(99).digest(), table.digest());
}
