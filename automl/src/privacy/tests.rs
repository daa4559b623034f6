use super::*;
use crate::table::{Cell, TableMapping};

fn table(text: &str) -> Table {
    Table::read("rows.csv", text.as_bytes(), &TableMapping::default()).expect("a table")
}

fn rules(text: &str) -> PrivacyRules {
    toml::from_str(text).expect("rules")
}

fn cells(table: &Table, column: &str) -> Vec<String> {
    let column = table.column(column).expect("the column");
    (0..table.rows())
        .map(|row| match column.cell(row) {
            Cell::Missing => "-".to_owned(),
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => format!("\"{text}\""),
        })
        .collect()
}

/// One column of these cells under this name, as it is recognised.
fn seen(name: &str, cells: &[&str]) -> Option<(IdentifierKind, Sign)> {
    let mut text = format!("\"{name}\",row\n");
    for (row, cell) in cells.iter().enumerate() {
        text.push_str(&format!("\"{cell}\",{row}\n"));
    }
    let found = recognize(&table(&text));
    assert!(found.iter().all(|it| it.column == name), "{found:?}");
    found.first().map(|it| (it.kind, it.sign))
}

fn share(alike: u64, of: u64) -> Sign {
    Sign::Cells { alike, of }
}

#[test]
fn every_treatment_changes_cells_and_keeps_missing_ones() {
    let source = "who,seen,age,zip,paid,note,kept\n\
                  ann,2024-03-05 10:30,47,94305,-5,x,1\n\
                  bob,2023/12/31,8,02139,250,y,2\n\
                  ann,,,,,,\n";
    let rules = rules(
        "[columns.who]\naction = \"hash\"\n\
         [columns.seen]\naction = \"generalize\"\ndates = \"month\"\n\
         [columns.age]\naction = \"generalize\"\nband = 10\n\
         [columns.zip]\naction = \"generalize\"\nprefix = 3\n\
         [columns.paid]\naction = \"clip\"\nrange = [0, 100]\n\
         [columns.note]\naction = \"drop\"\n",
    );
    let (made, report) = rules
        .apply(table(source), Some(&[7; 32]))
        .expect("the rules fit");
    assert_eq!(
        cells(&made, "seen"),
        ["\"2024-03-01\"", "\"2023-12-01\"", "-"]
    );
    assert_eq!(cells(&made, "age"), ["40", "0", "-"]);
    assert_eq!(cells(&made, "zip"), ["\"943*\"", "\"021*\"", "-"]);
    assert_eq!(cells(&made, "paid"), ["0", "100", "-"]);
    assert_eq!(cells(&made, "kept"), ["1", "2", "-"]);
    assert!(made.column("note").is_none());
    let who = cells(&made, "who");
    assert_eq!(who[0], who[2]);
    assert_ne!(who[0], who[1]);
    assert_eq!(who[0].len(), 35, "h and 32 digits in quotes: {}", who[0]);
    let words: Vec<String> = report
        .treated
        .iter()
        .map(|it| format!("{}: {} ({})", it.column, it.what, it.unfit))
        .collect();
    assert_eq!(
        words,
        [
            "age: numbers put in bands of 10 (0)",
            "note: left out (0)",
            "paid: numbers clipped to 0 to 100 (0)",
            "seen: dates cut to their month (0)",
            "who: replaced by a hash with the site's key (0)",
            "zip: only the first 3 characters kept (0)",
        ]
    );
}

#[test]
fn hashes_depend_on_key_column_and_value_alone() {
    let rules = rules("[columns.a]\naction = \"hash\"\n[columns.b]\naction = \"hash\"\n");
    let made = |source: &str, key: u8| {
        let (made, _) = rules
            .apply(table(source), Some(&[key; 32]))
            .expect("the rules fit");
        (cells(&made, "a"), cells(&made, "b"))
    };
    let (a, b) = made("a,b\n5,5\n", 1);
    assert_ne!(a, b, "equal values of two columns must not be linked");
    assert_eq!(made("b,a\n5,5.0\n", 1).0, a);
    assert_ne!(made("a,b\n5,5\n", 2).0, a);
    let missing = rules.apply(table("a,b\n5,5\n"), None);
    assert!(matches!(missing, Err(PrivacyError::NoKey { .. })));
}

#[test]
fn a_cell_that_a_rule_does_not_fit_becomes_missing_and_is_counted() {
    let source = "born,age\n1970-05-12,40\nunknown,old\n12/05/1970,41\n";
    let rules = rules(
        "[columns.born]\naction = \"generalize\"\ndates = \"year\"\n\
         [columns.age]\naction = \"clip\"\nrange = [0, 120]\n",
    );
    let (made, report) = rules.apply(table(source), None).expect("some cells fit");
    assert_eq!(cells(&made, "born"), ["\"1970-01-01\"", "-", "-"]);
    assert_eq!(cells(&made, "age"), ["40", "-", "41"]);
    let unfit: Vec<u64> = report.treated.iter().map(|it| it.unfit).collect();
    assert_eq!(unfit, [1, 2]);

    let wrong = rules.apply(table("born,age\nmay,40\njune,41\n"), None);
    assert_eq!(
        wrong.expect_err("no cell is a date").to_string(),
        "privacy.columns.born: none of its 2 cells is a date written year, month, day \
         (2024-03-05, 2024/3/5, 2024年3月5日); take another rule, or correct the column"
    );
}

#[test]
fn rules_that_cannot_be_say_why() {
    for (text, part) in [
        ("action = \"generalize\"", "needs one of"),
        (
            "action = \"generalize\"\nband = 5\nprefix = 2",
            "needs one of",
        ),
        ("action = \"generalize\"\nband = 0", "above 0"),
        ("action = \"generalize\"\nband = nan", "above 0"),
        ("action = \"generalize\"\nprefix = 0", "from 1 to 16"),
        ("action = \"clip\"", "needs `range"),
        (
            "action = \"clip\"\nrange = [3, 3]",
            "the first below the second",
        ),
        (
            "action = \"clip\"\nrange = [0, 1]\nband = 2",
            "nothing else",
        ),
        ("action = \"hash\"\nprefix = 2", "take no further keys"),
    ] {
        let error = rules(&format!("[columns.x]\n{text}\n"))
            .check()
            .expect_err(text)
            .to_string();
        assert!(error.starts_with("privacy.columns.x: "), "{error}");
        assert!(error.contains(part), "{text}: {error}");
    }
    let text = "[columns.x]\naction = \"encrypt\"\n";
    assert!(toml::from_str::<PrivacyRules>(text).is_err());
}

#[test]
fn a_name_that_is_no_column_is_an_error_with_the_nearest() {
    let known = table("age,postcode\n40,94305\n");
    for (text, key) in [
        ("[columns.postcod]\naction = \"drop\"\n", "privacy.columns"),
        (
            "quasi_identifiers = [\"pstcode\"]\n",
            "privacy.quasi_identifiers",
        ),
    ] {
        let error = rules(text).check_names(&known).expect_err(text).to_string();
        assert!(error.starts_with(key), "{error}");
        assert!(error.contains("did you mean `postcode`?"), "{error}");
    }
}

#[test]
fn identifiers_are_left_out_unless_a_rule_says_otherwise() {
    let source = "姓名,phone,zip,age\n王芳,13812345678,94305,40\n李娜,13912345678,94306,41\n\
                  张伟,15012345678,94307,42\n";
    let (made, report) = PrivacyRules::default()
        .apply(table(source), None)
        .expect("no rules");
    let names: Vec<&str> = made.columns().iter().map(|it| it.name()).collect();
    assert_eq!(names, ["age"]);
    let refused: Vec<String> = report.refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [
            "`姓名` looks like names of people by its name",
            "`phone` looks like telephone numbers by its name",
            "`zip` looks like postal codes by its name",
        ]
    );

    let rules = rules(
        "[columns.\"姓名\"]\naction = \"hash\"\n[columns.phone]\naction = \"allow\"\n\
         [columns.zip]\naction = \"generalize\"\nprefix = 3\n",
    );
    let (made, report) = rules
        .apply(table(source), Some(&[1; 32]))
        .expect("the rules fit");
    assert_eq!(made.columns().len(), 4);
    assert!(report.refused.is_empty());
    assert_eq!(report.allowed.len(), 1);
    assert_eq!(cells(&made, "phone")[0], "13812345678");
    assert_eq!(cells(&made, "zip"), ["\"943*\""; 3]);
}

#[test]
fn a_task_that_names_an_identifier_is_found_out() {
    let source = "phone,age,y\n13812345678,40,1\n13912345678,41,0\n";
    let (_, report) = PrivacyRules::default()
        .apply(table(source), None)
        .expect("no rules");
    let task = |text: &str| {
        Task::from_toml(&format!("name = \"t\"\ntarget = \"y\"\n{text}")).expect("a task")
    };
    for names in [
        "entity = \"phone\"\n",
        "[columns]\nphone = \"category\"\n",
        "[constraints]\nmonotone = { phone = \"increasing\" }\n",
    ] {
        let refused = report.refuses(&task(names)).expect(names);
        assert_eq!(refused.column, "phone");
    }
    assert_eq!(report.refuses(&task("")), None);
    assert_eq!(
        report.refuses(&task("[columns]\nphone = \"ignore\"\n")),
        None
    );
}

#[test]
fn headers_in_english_and_chinese_are_believed_where_the_cells_can_be_it() {
    use IdentifierKind as Kind;
    let phones = ["020 7946 0018", "020 7946 0019", "020 7946 0020"];
    let numbers = ["A1234567", "B2345678", "C3456789"];
    let people = ["Ann Lee", "Bob Ray", "Cy Young"];
    let places = ["12 High Street", "3 Mill Lane", "7 Park Road"];
    let days = ["12/05/1970", "03/11/1981", "30/01/1992"];
    let mails = ["ann at home", "a@b", "bob@"];
    for (name, cells, kind) in [
        ("Home Phone", phones, Kind::Phone),
        ("mobileNumber", phones, Kind::Phone),
        ("联系电话", phones, Kind::Phone),
        ("手机号码", phones, Kind::Phone),
        ("E-mail", mails, Kind::Email),
        ("emailAddress", mails, Kind::Email),
        ("电子邮箱", mails, Kind::Email),
        ("SSN", numbers, Kind::NationalId),
        ("id_number", numbers, Kind::NationalId),
        ("社会身份证号", numbers, Kind::NationalId),
        ("passport no", numbers, Kind::NationalId),
        ("account_number", numbers, Kind::Account),
        ("银行卡号", numbers, Kind::Account),
        ("name", people, Kind::Name),
        ("patientName", people, Kind::Name),
        ("last_name", people, Kind::Name),
        ("患者姓名", people, Kind::Name),
        ("street", places, Kind::Address),
        ("家庭住址", places, Kind::Address),
        ("Date of Birth", days, Kind::BirthDate),
        ("出生日期", days, Kind::BirthDate),
        ("邮编", ["100084", "200240", "310027"], Kind::Postcode),
    ] {
        assert_eq!(seen(name, &cells), Some((kind, Sign::Header)), "{name}");
    }
}

/// Columns whose names alone would accuse them; most stand in public tables.
#[test]
fn columns_that_only_sound_like_identifiers_pass() {
    for (name, cells) in [
        // German credit: has a telephone or not.
        ("telephone", ["1", "2", "1"]),
        ("telephone", ["A191", "A192", "A191"]),
        ("Phone", ["yes", "no", "no"]),
        ("email", ["true", "false", "true"]),
        ("birthdate", ["1970", "1981", "1992"]),
        ("name", ["17", "18", "19"]),
        ("address", ["same", "new", "same"]),
        ("product_name", ["Loan", "Card", "Lease"]),
        ("patient_nbr", ["8222157", "55629189", "86047875"]),
        ("encounter_id", ["2278392", "149190", "64410"]),
        ("mobile_phone_payments", ["1", "0", "3"]),
        ("contact", ["cellular", "telephone", "unknown"]),
        ("ejection_fraction", ["20", "38", "60"]),
        (
            "Company",
            ["First Street Bank", "Name Brand Inc", "Mail Corp"],
        ),
    ] {
        assert_eq!(seen(name, &cells), None, "{name}");
    }
}

#[test]
fn cells_with_a_form_that_chance_does_not_make_are_recognised() {
    use IdentifierKind as Kind;
    let few = |cells: [&'static str; 3], rest: &'static str| {
        let mut all = cells.to_vec();
        all.extend([rest; 27]);
        all
    };
    for (cells, kind) in [
        (
            ["ann@example.org", "b.o@x.co.uk", "王@例子.中国"],
            Kind::Email,
        ),
        (
            [
                "11010519491231002X",
                "440524198001010013",
                "310115197602291234",
            ],
            Kind::NationalId,
        ),
        (
            [
                "DE89370400440532013000",
                "GB82 WEST 1234 5698 7654 32",
                "FR1420041010050500013M02606",
            ],
            Kind::Account,
        ),
    ] {
        assert_eq!(seen("v1", &few(cells, "7")), Some((kind, share(3, 30))));
        let two = [cells[0], cells[1], cells[0], cells[1]];
        assert_eq!(seen("v1", &two), None, "two values are no list of people's");
        let mut fewer = few(cells, "7");
        fewer.extend(["7"; 2]);
        assert_eq!(seen("v1", &fewer), None, "3 of 32 are below a tenth");
    }
    let ids = [
        "11010519491231002X",
        "440524198001010013",
        "11010119900307109x",
    ];
    assert_eq!(
        seen("v1", &few(ids, "?")),
        Some((Kind::NationalId, share(3, 3))),
        "missing cells do not count"
    );
    // In sentences.
    let notes = [
        "call ann@example.org.",
        "to <bob@example.org>, later",
        "cc: cy@example.org",
    ];
    assert_eq!(
        seen("note", &few(notes, "fine")),
        Some((Kind::Email, share(3, 30)))
    );
}

#[test]
fn cells_with_a_form_that_others_share_need_half_of_them() {
    use IdentifierKind as Kind;
    let american = [
        "(212) 555-0123",
        "212-555-0134",
        "+1 212 555 0145",
        "1-212-555-0156",
    ];
    let chinese = [
        "13812345678",
        "139 1234 5678",
        "010-62345678",
        "+8615012345678",
    ];
    let cards = [
        "4111111111111111",
        "5500 0000 0000 0004",
        "378282246310005",
        "6011111111111117",
    ];
    let social = ["078-05-1120", "219-09-9999", "457-55-5462", "123-45-6789"];
    for (cells, kind) in [
        (american, Kind::Phone),
        (chinese, Kind::Phone),
        (cards, Kind::Account),
        (social, Kind::NationalId),
    ] {
        let mut half = cells.to_vec();
        half.extend(["x"; 4]);
        assert_eq!(seen("v", &half), Some((kind, share(4, 8))), "{cells:?}");
        half.push("x");
        assert_eq!(seen("v", &half), None, "{cells:?}");
    }
}

/// Numbers that are near to an identifier's form and are none.
#[test]
fn near_misses_are_no_identifiers() {
    for cells in [
        // A wrong check digit.
        [
            "110105194912310021",
            "440524198001010014",
            "110101199003071090",
        ],
        [
            "DE88370400440532013000",
            "GB81WEST12345698765432",
            "FR1520041010050500013M02606",
        ],
        ["4111111111111112", "5500000000000005", "6011111111111118"],
        // Right check digit, no scheme of that range.
        ["9111111111111110", "0000000000000000", "1234567890123452"],
        // Seconds and milliseconds since 1970, and days.
        ["1700000000", "1700000060", "1700000120"],
        ["1700000000000", "1700000060000", "1700000120000"],
        ["2024-03-05", "2024-03-06", "2024-03-07"],
        // No area, group or serial like that.
        ["000-12-3456", "666-12-3456", "123-00-4567"],
        // An area code that begins with 1, and bare digits.
        ["112-555-0123", "112-555-0124", "112-555-0125"],
        ["2125550123", "2125550124", "2125550125"],
        ["a@b", "a@b.", "@example.org"],
        ["192.168.1.10", "192.168.1.11", "10.0.0.12"],
        ["1234.5678", "13812345678.5", "-13812345678"],
    ] {
        assert_eq!(seen("v", &cells), None, "{cells:?}");
    }
}

#[test]
fn few_random_numbers_have_the_form_of_a_card() {
    let mut state = 0x9e37_79b9_u64;
    println!("seed {state:#x}");
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) % 10_000_000_000_000_000
    };
    let cells: Vec<String> = (0..2000).map(|_| format!("{:016}", random())).collect();
    let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
    assert_eq!(seen("v", &cells), None);
}

#[test]
fn k_is_the_smallest_group_after_the_rules() {
    let source = "age,sex,zip\n41,f,1\n44,f,1\n47,f,1\n52,m,1\n55,m,1\n58,,1\n";
    let mut rules = rules(
        "quasi_identifiers = [\"age\", \"sex\"]\nsmall_group = 3\n\
         [columns.age]\naction = \"generalize\"\nband = 10\n",
    );
    let (made, _) = rules.apply(table(source), None).expect("the rules fit");
    let groups = rules.groups(&made).expect("columns").expect("declared");
    assert_eq!(
        groups,
        Groups {
            columns: vec!["age".to_owned(), "sex".to_owned()],
            k: 1,
            groups: 3,
            small: 3,
            small_rows: 3,
            rows: 6,
        }
    );
    rules.quasi_identifiers.truncate(1);
    let groups = rules.groups(&made).expect("columns").expect("declared");
    assert_eq!((groups.k, groups.groups, groups.small_rows), (3, 2, 0));
    rules.quasi_identifiers = vec!["phone".to_owned()];
    assert!(matches!(
        rules.groups(&made),
        Err(PrivacyError::LeftOut { .. })
    ));
    rules.quasi_identifiers.clear();
    assert_eq!(rules.groups(&made), Ok(None));
}
