#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn no_key_has_a_meaning() {
    for text in [
        r#"{"a":{"$serde_json::private::RawValue":"{\"x\":1}"}}"#,
        r#"{"a":{"$serde_json::private::Number":"12"}}"#,
    ] {
        let value = parse(text).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
        assert_eq!(parse(&text.replace('$', "\\u0024")).unwrap(), value);
    }
}

fn nested(depth: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth))
}

#[test]
fn nesting_is_bounded() {
    assert!(object(&nested(DEPTH_MAX)).is_ok() && check(&nested(DEPTH_MAX)).is_ok());
    for error in [object(&nested(DEPTH_MAX + 1)).unwrap_err(), check(&nested(100_000)).unwrap_err()] {
        let sentence = error.sentence("content");
        assert!(sentence.contains("is nested deeper than 100 levels") && sentence.len() < 256, "{sentence}");
    }
    let arrays = format!("{}1{}", "[".repeat(101), "]".repeat(101));
    assert!(check(&arrays).is_err() && check(&arrays[1..202]).is_ok());
    assert!(own_object(&nested(127)).is_ok(), "taken before there was the limit");
    assert!(own_object(&nested(OWN_DEPTH_MAX)).is_ok() && own_object(&nested(100_000)).is_err());
}

#[test]
fn small_objects_weigh_more_than_their_text() {
    let weigh = |text: &str| weight(&own_object(text).unwrap());
    assert_eq!(weigh("{}"), 0);
    let many = format!(r#"{{"a":[{}0]}}"#, r#"{"":0},"#.repeat(1000));
    assert!(weigh(&many) > 600 * 1000, "{}", weigh(&many));
    for long in [
        format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000)),
        format!(r#"{{"a":{}}}"#, "1.".to_owned() + &"7".repeat(10_000)),
    ] {
        assert!((10_000..12_000).contains(&weigh(&long)), "{}", weigh(&long));
    }
}

/// Texts of RFC 8259 that parsers disagree about, as a table: whether they are taken, and what a refusal says.
#[test]
fn the_grammar_is_that_of_the_standard() {
    let taken = [
        "null",
        " true ",
        "\t\r\n false",
        "0",
        "-0",
        "-0.0",
        "1E22",
        "1e-2",
        "1e+2",
        "123.456e78",
        "0e1",
        "0e+1",
        "-1",
        "\"\"",
        "[]",
        "{}",
        "[[]   ]",
        "[\"\"]",
        r#"{"":0}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":{},"b":[1,null]}"#,
        r#""\u0000""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\uD834\udd1e""#,
        r#""\u00e9\u2028""#,
        "\"\u{7f}\u{2028}é𝄞\"",
        r#""\uFFFF\uFFFE""#,
        "123123e-10000000",
        "[1e-400]",
        "-123123123123123123123123123123",
        "\"/* */\"",
        r#"{"min":-1.0e+28,"max":1.0e+28}"#,
    ];
    for text in taken {
        assert_eq!(check(text), Ok(()), "{text}");
        assert!(parse(text).is_ok(), "{text}");
    }
    let refused = [
        ("", "is empty"),
        (" \n", "is empty"),
        ("\u{feff}{}", "begins with a byte order mark"),
        ("[", "ends too early"),
        ("{\"a\"", "ends too early"),
        ("\"a", "ends too early"),
        ("\"\\", "ends too early"),
        ("[1e", "ends too early"),
        ("\"\\ud83d\\u12", "ends too early"),
        ("[1,]", "unexpected ']' at byte 3"),
        ("[,1]", "unexpected ',' at byte 1"),
        ("[1 2]", "unexpected '2' at byte 3"),
        ("{,}", "unexpected ','"),
        (r#"{"a":1,}"#, "unexpected '}' at byte 7"),
        (r#"{"a" 1}"#, "unexpected '1'"),
        (r#"{"a":}"#, "unexpected '}'"),
        ("{a:1}", "unexpected 'a' at byte 1"),
        ("{1:1}", "unexpected '1'"),
        ("{'a':1}", "unexpected '\\'' at byte 1"),
        ("[1}", "unexpected '}'"),
        ("{} {}", "unexpected '{' at byte 3"),
        ("[]]", "unexpected ']'"),
        ("01", "unexpected '1' at byte 1"),
        ("-01", "unexpected '1'"),
        ("+1", "unexpected '+'"),
        ("-", "ends too early"),
        ("- 1", "unexpected ' '"),
        (".5", "unexpected '.'"),
        ("1.", "ends too early"),
        ("[1.]", "unexpected ']'"),
        ("1.e1", "unexpected 'e'"),
        ("1e1.5", "unexpected '.'"),
        ("0x10", "unexpected 'x'"),
        ("1_000", "unexpected '_'"),
        ("NaN", "unexpected 'N'"),
        ("Infinity", "unexpected 'I'"),
        ("-Infinity", "unexpected 'I' at byte 1"),
        ("nul", "ends too early"),
        ("nulL", "unexpected 'L'"),
        ("True", "unexpected 'T'"),
        ("truex", "unexpected 'x'"),
        ("'a'", "unexpected '\\''"),
        ("\"a\tb\"", "unexpected '\\t' at byte 2"),
        ("\"a\nb\"", "unexpected '\\n'"),
        ("\"\0\"", "unexpected '\\0'"),
        (r#""\x00""#, "unexpected 'x'"),
        (r#""\u00G0""#, "unexpected 'G'"),
        (r#""\U0000""#, "unexpected 'U'"),
        ("[1]//", "unexpected '/'"),
        ("/**/1", "unexpected '/'"),
        ("\u{a0}1", "unexpected '\u{a0}'"),
        ("[1\u{2060}]", "unexpected '\\u{2060}'"),
        ("１", "unexpected '１'"),
        (r#""\ud800""#, "half of a surrogate pair, \\ud800"),
        (r#""\udc00""#, "half of a surrogate pair, \\udc00"),
        (r#""\ud800a""#, "half of a surrogate pair"),
        (r#""\ud800\n""#, "half of a surrogate pair"),
        (r#""\ud800\u0041""#, "half of a surrogate pair"),
        (r#""\ud800\ud800\udc00""#, "half of a surrogate pair"),
        (r#"{"\ud800":1}"#, "half of a surrogate pair"),
        ("1e309", "beyond what a double reaches"),
        ("-1e99999999999999999999", "beyond what a double reaches"),
    ];
    for (text, reason) in refused {
        let error = check(text).expect_err(text).to_string();
        let shown = reason.replace('\u{a0}', "\\u{a0}");
        assert!(error.contains(reason) || error.contains(&shown), "{text}: {error}");
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn texts_are_unescaped() {
    let text = r#""a\"\\\/\b\f\n\r\tb\u00e9\ud834\uDD1E\\u0041é""#;
    assert_eq!(parse(text).unwrap(), Value::String("a\"\\/\u{8}\u{c}\n\r\tbé𝄞\\u0041é".to_owned()));
}

#[test]
fn the_last_of_repeated_keys_counts() {
    let value = parse(r#"{"a":1,"b":2,"\u0061":3}"#).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"a":3,"b":2}"#);
}

#[test]
fn a_member_is_found_in_what_is_broken() {
    for (text, id) in [
        (r#"{"id":"c"}"#, Some(r#""c""#)),
        (r#" { "x" : [1,{"id":"no"}] , "id" : "c" "#, Some(r#""c""#)),
        (r#"{"x":"},\"id\":","id":"c"}"#, Some(r#""c""#)),
        (r#"{"x":nope,"i\u0064":"c"}"#, Some(r#""c""#)),
        (r#"{"x\ud800":"\ud800","id":"c"}"#, Some(r#""c""#)),
        (r#"{"x":{"id":"c"}}"#, None),
        (r#"["id","c"]"#, None),
        (r#"{"id":"c"#, None),
        (r#"{"x":]"id":"c"}"#, None),
        ("", None),
    ] {
        assert_eq!(find_member(text, "id"), id, "{text}");
    }
}

#[test]
fn whole_numbers_are_whole_in_any_notation() {
    let whole = |text: &str| u64::read(text).ok();
    for (text, number) in [
        ("0", 0),
        ("-0", 0),
        ("0.0e5", 0),
        ("7", 7),
        ("7.0", 7),
        ("70e-1", 7),
        ("0.7e1", 7),
        ("7E2", 700),
        ("18446744073709551615", u64::MAX),
        ("1844674407370955161.5e1", u64::MAX),
    ] {
        assert_eq!(whole(text), Some(number), "{text}");
    }
    for text in [
        "-1",
        "0.5",
        "7.01",
        "1e-1",
        "18446744073709551616",
        "1e20",
        "1e300",
        "1e-9999999999999999999",
        "\"7\"",
        "null",
        "[]",
    ] {
        assert_eq!(whole(text), None, "{text}");
    }
}

fn number() -> impl Strategy<Value = String> {
    let digits = "0|[1-9][0-9]{0,40}";
    (any::<bool>(), digits, prop::option::of("[0-9]{1,40}"), prop::option::of(("[eE]", "[+-]?", 0..260_u32)))
        .prop_map(|(negative, whole, fraction, exponent)| {
            let sign = if negative { "-" } else { "" };
            let fraction = fraction.map(|fraction| format!(".{fraction}")).unwrap_or_default();
            let exponent = exponent.map(|(e, sign, digits)| format!("{e}{sign}{digits}")).unwrap_or_default();
            format!("{sign}{whole}{fraction}{exponent}")
        })
}

fn canonical_text(text: &str) -> String {
    #[derive(serde::Serialize)]
    struct Whole(#[serde(serialize_with = "canonical")] Object);
    serde_json::to_string(&Whole(own_object(&format!(r#"{{"n":{text}}}"#)).unwrap())).unwrap()
}

#[test]
fn one_value_has_one_canonical_text() {
    for same in [&["1", "1.0", "10e-1", "0.1E+1", "0.01e2"][..], &["0", "-0", "0.00e7"], &["-120", "-1.2e2"]]
    {
        for text in same {
            assert_eq!(canonical_text(text), canonical_text(same[0]), "{text}");
            assert_eq!(parse(text), parse(same[0]));
        }
    }
    let different =
        ["1", "-1", "1.0000000000000000000000000001", "10", "0.1", "1e-400", "1e-401", "\"1\"", "0"];
    for (n, text) in different.iter().enumerate() {
        for other in &different[n + 1..] {
            assert_ne!(canonical_text(text), canonical_text(other));
            assert_ne!(parse(text), parse(other));
        }
    }
    // Beyond 64 bits of exponent, a notation stands for itself; zero stays zero.
    assert_ne!(parse("1e-99999999999999999999"), parse("1e-99999999999999999998"));
    assert_eq!(parse("0e-99999999999999999999"), parse("0"));
}

proptest! {
    #[test]
    fn it_reads_what_serde_json_reads(text in r#"[\[\]{}:,"a1.e\-]{0,40}"#) {
        let ours = parse(&text).ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        prop_assert_eq!(ours.is_some(), check(&text).is_ok());
        if let Some(ours) = ours {
            prop_assert_eq!(serde_json::to_value(&ours).ok(), theirs);
        }
    }

    #[test]
    fn strings_mean_what_serde_json_says(text: String) {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(parse(&json), Ok(Value::String(text)));
    }

    #[test]
    fn any_text_is_survived(text: String, name in "[a-c]") {
        let _ = (parse(&text), check(&text), find_member(&text, &name), Fields::of(&text, &[], 3).is_ok());
    }

    #[test]
    fn every_number_keeps_its_text(numbers in prop::collection::vec(number(), 1..8)) {
        let text = format!("[{}]", numbers.join(","));
        prop_assert_eq!(serde_json::to_string(&parse(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn numbers_are_equal_when_their_values_are(text in number(), zeros in 0..5_usize, shift in -9..9_i64) {
        let same = |other: &str| parse(other) == parse(&text) && canonical_text(other) == canonical_text(&text);
        prop_assert!(same(&text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
        // More zeros at the end, or all digits as a fraction with the point elsewhere.
        let point = if mantissa.contains('.') { "" } else { ".0" };
        let longer = format!("{mantissa}{point}{}e{exponent}", "0".repeat(zeros));
        prop_assert!(same(&longer), "{}", longer);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
        let moved = exponent.parse::<i64>().unwrap() + i64::try_from(whole.len()).unwrap();
        let fraction = format!("{sign}0.{whole}{fraction}e{moved}");
        prop_assert!(same(&fraction), "{}", fraction);
        if shift != 0 && text.bytes().take_while(|b| !b"eE".contains(b)).any(|b| b"123456789".contains(&b)) {
            let other = format!("{mantissa}e{}", exponent.parse::<i64>().unwrap() + shift);
            prop_assert_ne!(parse(&other), parse(&text));
        }
    }
}
