//! What each construct of RE2's syntax becomes, by what it matches, and what is refused.

use proptest::prelude::*;

use super::translate::DEPTH_MAX;
use super::*;

fn compiled(pattern: &str) -> Result<Pattern, PatternError> {
    Pattern::with_groups(pattern, &Budget::unlimited())
}

/// Patterns, the texts that they match, and texts that they do not match.
type Cases<'a> = &'a [(&'a str, &'a [&'a str], &'a [&'a str])];

fn check(cases: Cases<'_>) {
    for (pattern, matching, other) in cases {
        let regex = compiled(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        for text in *matching {
            assert!(regex.is_match(text), "{pattern} should match {text:?}, is {regex:?}");
        }
        for text in *other {
            assert!(!regex.is_match(text), "{pattern} should not match {text:?}, is {regex:?}");
        }
    }
}

/// Patterns, and what the error says about them up to what was expected.
fn check_refused(cases: &[(&str, &str)]) {
    for (pattern, message) in cases {
        let error = compiled(pattern).expect_err(pattern).to_string();
        let expected = format!("error parsing regexp: {message}, expected ");
        assert!(error.starts_with(&expected), "{pattern}: {error}");
    }
}

#[test]
fn patterns_are_anchored_and_the_dot_matches_newlines() {
    check(&[
        ("", &[""], &["a", "\n"]),
        ("a", &["a"], &["aa", "ba", "ab", "a\n", "A"]),
        ("a|bc", &["a", "bc"], &["abc", "xa", "bcx"]),
        ("a.*b", &["ab", "a\nb"], &["xab"]),
        ("(?-s)a.b", &["axb"], &["a\nb"]),
        ("^a$", &["a"], &["a\n"]),
        (r"\Aa\z", &["a"], &["a\n"]),
        ("(?m)a$.^b", &["a\nb"], &["axb"]),
        ("a$.^b", &[], &["a\nb"]),
        ("||", &[""], &["|"]),
        ("()", &[""], &["()"]),
        ("日本.", &["日本語"], &["日本"]),
    ]);
}

#[test]
fn perl_classes_are_ascii() {
    check(&[
        (r"\d", &["7"], &["٣", "a"]),
        (r"\D", &["a", "٣", "\n"], &["7"]),
        (r"\w", &["a", "Z", "_", "0"], &["é", "-"]),
        (r"\W", &["é", "-"], &["a"]),
        (r"\s", &["\t", "\n", "\u{c}", "\r", " "], &["\u{b}", "\u{a0}"]),
        (r"\S", &["\u{b}", "\u{a0}"], &[" "]),
        (r"[\d.]", &["7", "."], &["٣"]),
        (r"[^\d.]", &["٣"], &["7", "."]),
        (r"[\W\d]", &["é", "7"], &["a"]),
        (r"[^\W]", &["a"], &["é"]),
        (r"[\s]", &[" "], &["\u{b}"]),
        (r"[\d-z]", &["7", "-", "z"], &["a"]),
        (r"(?i)\w", &["\u{17f}", "\u{212a}"], &["é"]),
        (r"(?i)[\W]", &["é"], &["\u{17f}"]),
    ]);
}

#[test]
fn word_boundaries_are_ascii() {
    check(&[
        (r"a\b-\bb", &["a-b"], &[]),
        (r"é\b.*", &[], &["é", "é-"]),
        (r"é\bx", &["éx"], &[]),
        (r"é\B", &["é"], &[]),
        (r"a\Bb", &["ab"], &[]),
        (r"a\B-", &[], &["a-"]),
        (r".*\B.*", &["é", "日本", ""], &["a"]),
        // RE2 has no `\b{start}`: these are a boundary and a literal, and a boundary twice.
        (r"a\b{start}", &["a{start}"], &["a"]),
        (r"a\b{2}-", &["a-"], &["ab"]),
    ]);
}

#[test]
fn posix_and_unicode_classes() {
    check(&[
        ("[[:alpha:]]", &["a", "Z"], &["é", "1", ":", "["]),
        ("[[:^alpha:]]", &["1", "é"], &["a"]),
        ("[^[:alpha:][:digit:]]", &["-"], &["a", "1"]),
        ("[[:word:]]+", &["a_1"], &["-"]),
        ("[[:space:]]", &["\u{b}"], &["a"]),
        ("(?i)[[:lower:]]", &["A", "\u{17f}"], &["é"]),
        ("[[:alpha]", &["[", ":", "a"], &["b"]),
        ("[:alpha:]", &[":", "a"], &["b", "["]),
        (r"\pL\p{L}\p{Lu}", &["aéÉ"], &["aéé"]),
        (r"\PL\P{L}\p{^L}", &["1-_"], &["a1_"]),
        (r"\P{^Greek}\p{Greek}", &["αω"], &["aω"]),
        (r"[\p{Greek}\pN]+", &["α1"], &["a"]),
        (r"[^\pN]", &["a", "\n"], &["1"]),
        (r"\p{Any}\p{Sc}\p{Yi}", &["x$ꀀ"], &[]),
        (r"\p{Lowercase_Letter}\p{letter}", &["aA"], &["Aa"]),
        (r"(?i)\p{Lu}", &["a", "A"], &["1"]),
        (r"\pLx", &["ax"], &["a"]),
    ]);
}

#[test]
fn classes_do_not_nest_or_intersect() {
    check(&[
        ("[a&&b]", &["a", "&", "b"], &["c"]),
        ("[+--]", &["+", ",", "-"], &["."]),
        ("[a~~b]", &["a", "~", "b"], &["c"]),
        ("[[a]", &["[", "a"], &["]"]),
        ("[[a]b]", &["[b]", "ab]"], &["a", "b"]),
        ("[]a]", &["]", "a"], &["b"]),
        ("[^]a]", &["b", "\n"], &["]", "a"]),
        ("[a-]", &["a", "-"], &["b"]),
        ("[-a]", &["a", "-"], &["b"]),
        ("[--/]", &["-", ".", "/"], &["0"]),
        ("[a^]", &["a", "^"], &["b"]),
        ("[(){}|.*+?$ #]", &["(", "{", "|", "$", " ", "#"], &["a"]),
        (r"[\]\[\-\\\^]", &["]", "[", "-", "\\", "^"], &["a"]),
        (r"[\x41-\103]", &["A", "B", "C"], &["D"]),
        (r"[\n\a\0]", &["\n", "\u{7}", "\0"], &["n", "a", "0"]),
        ("(?i)[k]", &["k", "K", "\u{212a}"], &["l"]),
        ("(?i)[^k]", &["l"], &["k", "K", "\u{212a}"]),
        (r"[^\x00-\x{10FFFF}]", &[], &["a", ""]),
        (r"[\.\<]", &[".", "<"], &["\\"]),
    ]);
}

#[test]
fn escapes() {
    check(&[
        (r"\Qa.b\E.", &["a.bx"], &["axbx"]),
        (r"\Q\E", &[""], &["Q"]),
        (r"\Qab\E+", &["abb"], &["abab"]),
        (r"\Q[\d\E", &["[\\d"], &["[1"]),
        (r"\141\0\01\0018", &["a\0\u{1}\u{1}8"], &[]),
        (r"\777", &["\u{1ff}"], &[]),
        (r"\x41\x{42}\x{10FFFF}\x{000043}", &["AB\u{10ffff}C"], &[]),
        (r"\a\f\t\n\r\v", &["\u{7}\u{c}\t\n\r\u{b}"], &[]),
        (r"\.\-\_\/\#\ \<\>\@\&\~\'", &[".-_/# <>@&~'"], &[]),
        ("# &~-", &["# &~-"], &[]),
    ]);
    let escape = "invalid escape sequence";
    for pattern in [
        r"\C", r"\Z", r"\G", r"\X", r"\1", r"\8", r"\k", r"\y", r"\e", r"\h", r"\E", r"\u", r"\U", r"\é",
        r"\x", r"\i",
    ] {
        check_refused(&[(pattern, &format!("{escape}: `{pattern}` at character 1"))]);
    }
    check_refused(&[
        (r"\18", r"invalid escape sequence: `\1` at character 1"),
        (r"日\u0061", r"invalid escape sequence: `\u` at character 2"),
        (r"\U00000061", r"invalid escape sequence: `\U` at character 1"),
        (r"\x{}", r"invalid escape sequence: `\x{}` at character 1"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000}` at character 1"),
        (r"\x{+41}", r"invalid escape sequence: `\x{+41}` at character 1"),
        (r"\x4", r"invalid escape sequence: `\x` at character 1"),
        (r"[\b]", r"invalid escape sequence: `\b` at character 2"),
        (r"[\Qa\E]", r"invalid escape sequence: `\Q` at character 2"),
        (r"a\", r"trailing backslash at end of expression: `\` at character 2"),
        (r"a\Qb", r"missing closing \E: `\Q` at character 2"),
    ]);
}

#[test]
fn flags_and_groups() {
    check(&[
        ("(?i)aÄk", &["AäK", "aä\u{212a}"], &["ab"]),
        ("(?i:a)b", &["Ab"], &["AB"]),
        ("a(?i)b|c", &["aB", "C"], &["AB"]),
        ("(a(?i)b)c", &["aBc"], &["aBC"]),
        ("(?i)a(?-i)b", &["Ab"], &["AB"]),
        ("(?i)a(?-i:b)c", &["AbC"], &["ABC"]),
        ("(?ii-s:a.)", &["Ax"], &["A\n"]),
        ("(?i-i)a(?)b", &["ab"], &["Ab"]),
        ("a(?i)*b", &["aaB"], &["AAB"]),
        ("(?:a|b)c", &["ac", "bc"], &["a"]),
        ("(?P<n>a)(?<m_1>b)", &["ab"], &["a"]),
        ("(a|(?i))b", &["ab", "b"], &["B"]),
    ]);
    let first = |pattern: &str, text: &str| {
        let regex = compiled(pattern).unwrap();
        text[regex.groups(text).unwrap().get(1).unwrap()].to_owned()
    };
    assert_eq!(first("(a*)a*", "aaa"), "aaa");
    assert_eq!(first("(a*?)a*", "aaa"), "");
    assert_eq!(first("(?U)(a*)a*", "aaa"), "");
    assert_eq!(first("(?U)(a*?)a*", "aaa"), "aaa");
    assert_eq!(first("(?U:(a{1,}))a*", "aaa"), "a");
    let regex = compiled("(?P<n>a)(?:b)(?<m>c)").unwrap();
    assert_eq!(regex.group_names(), [Some("n".to_owned()), Some("m".to_owned())]);
}

#[test]
fn refused_groups_and_flags() {
    let perl = "invalid or unsupported Perl syntax";
    let cases = [
        ("(?x)a", "(?x"),
        ("(?u)a", "(?u"),
        ("(?R)a", "(?R"),
        ("(?=a)", "(?="),
        ("(?!a)", "(?!"),
        ("(?#a)", "(?#"),
        ("(?-)a", "(?-)"),
        ("(?i-:a)", "(?i-:"),
        ("(?i--s)a", "(?i--"),
        ("(?P=n)", "(?P"),
        ("(?", "(?"),
        ("(?i", "(?i"),
    ];
    for (pattern, part) in cases {
        check_refused(&[(pattern, &format!("{perl}: `{part}` at character 1"))]);
    }
    check_refused(&[
        ("(", "missing closing ): `(` at character 1"),
        ("a(b(?P<n>c)", "missing closing ): `(` at character 2"),
        ("a)", "unexpected ): `)` at character 2"),
        ("a)|(?:b", "unexpected ): `)` at character 2"),
        ("(?P<>a)", "invalid named capture: `(?P<>` at character 1"),
        ("(?P<n", "invalid named capture: `(?P<` at character 1"),
        ("(?<a b>c)", "invalid named capture: `(?<a b>` at character 1"),
        ("(?<=a)b", "invalid named capture: `(?<` at character 1"),
        ("(?P<n>a)(?P<n>b)", "invalid named capture: `(?P<n>` at character 9"),
    ]);
}

#[test]
fn refused_classes() {
    check_refused(&[
        ("a[b", "missing closing ]: `[b` at character 2"),
        ("[]", "missing closing ]: `[]` at character 1"),
        ("[[:alpha:]", "missing closing ]: `[[:alpha:]` at character 1"),
        ("[z-a]", "invalid character class range: `z-a` at character 2"),
        ("[a--b]", "invalid character class range: `a--` at character 2"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]` at character 2"),
        (r"[a-\d]", r"invalid escape sequence: `\d` at character 4"),
        (r"\p", r"invalid character class range: `\p` at character 1"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}` at character 1"),
        (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}` at character 1"),
        (r"\p{sc=Greek}", r"invalid character class range: `\p{sc=Greek}` at character 1"),
        (r"\p{gc:L}", r"invalid character class range: `\p{gc:L}` at character 1"),
        (r"\p{IsGreek}", r"invalid character class range: `\p{IsGreek}` at character 1"),
        (r"a[\p{L]", r"invalid character class range: `\p{` at character 3"),
        (r"\p{}", r"invalid character class range: `\p{}` at character 1"),
    ]);
}

#[test]
fn repetitions() {
    check(&[
        ("a{2}", &["aa"], &["a", "aaa"]),
        ("a{2,}", &["aa", "aaa"], &["a"]),
        ("a{0,1}?b", &["ab", "b"], &["aab"]),
        ("a{0}", &[""], &["a"]),
        ("a{,2}", &["a{,2}"], &["aa"]),
        ("a{x}", &["a{x}"], &[]),
        ("a{01}", &["a{01}"], &["a"]),
        ("a{ 1}", &["a{ 1}"], &["a"]),
        ("a{2", &["a{2"], &[]),
        ("{", &["{"], &[]),
        ("{}", &["{}"], &[]),
        ("x{}+", &["x{}}"], &["x{}{}"]),
        ("^*a", &["a"], &["^a"]),
        (r"\A+a\z?", &["a"], &[]),
        ("(?:a*)*", &["aaa"], &["b"]),
        ("(?:a{1000}){1}b{1000}", &[], &["a"]),
        ("(?:(?:a{500}){0}b){3}", &["bbb"], &["a"]),
        ("(?:a{30}){33}", &[], &["a"]),
        ("()*", &[""], &["a"]),
    ]);
    check_refused(&[
        ("a{1001}", "invalid repeat count: `{1001}` at character 2"),
        ("a{99999999999999999999}", "invalid repeat count: `{99999999999999999999}` at character 2"),
        ("a{2,1}", "invalid repeat count: `{2,1}` at character 2"),
        ("a{1,1001}", "invalid repeat count: `{1,1001}` at character 2"),
        ("((a{10}|b){10}c){11}", "invalid repeat count: `{11}` at character 17"),
        ("a**", "invalid nested repetition operator: `**` at character 2"),
        ("aé*?{2}", "invalid nested repetition operator: `*?{2}` at character 3"),
        ("a*??", "invalid nested repetition operator: `*??` at character 2"),
        ("a++", "invalid nested repetition operator: `++` at character 2"),
        ("a*(?i)*", "invalid nested repetition operator: `*(?i)*` at character 2"),
        ("*", "missing argument to repetition operator: `*` at character 1"),
        ("a|+?", "missing argument to repetition operator: `+?` at character 3"),
        ("({2})", "missing argument to repetition operator: `{2}` at character 2"),
        ("(?i)?", "missing argument to repetition operator: `?` at character 5"),
    ]);
}

#[test]
fn bounds_of_depth_and_size() {
    let deep = |depth| format!("{}a{}", "(b|c".repeat(depth), "d|e)*".repeat(depth));
    assert!(compiled(&deep(DEPTH_MAX)).is_ok_and(|regex| regex.is_match("be")));
    let error = compiled(&deep(DEPTH_MAX + 1)).unwrap_err().to_string();
    assert!(error.contains("expression nests too deeply: `(` at character 801"), "{error}");
}

/// The crate's own reading of a pattern's translation.
fn reference(pattern: &str) -> Option<regex::Regex> {
    let translation = Translator::new(pattern, false, &Budget::unlimited()).ok()?.translate().ok()?;
    Some(regex::Regex::new(&format!("^(?s:{})$", translation.whole)).unwrap())
}

/// Whether a pattern lists all that it matches, and how many texts it lists.
fn listed(pattern: &str) -> (bool, usize) {
    let pattern = Pattern::new(pattern, &Budget::unlimited()).unwrap();
    (pattern.is_list(), pattern.words().len())
}

#[test]
fn lists_are_looked_up_however_they_are_written() {
    let names: Vec<String> = (0..10_000).map(|i| format!("web-{i:05}/example")).collect();
    let (plain, escaped) = (names.join("|"), names.join("|").replace('/', r"\/"));
    for pattern in [
        plain.clone(),
        escaped.clone(),
        escaped.replace(r"\/", "[/]"),
        format!("({plain})"),
        format!("^(?:{escaped})$"),
        format!("(?P<all>(?:{})|(?:{}))", names[..5000].join("|"), names[5000..].join("|")),
        format!("web-({})", escaped.replace("web-", "")),
        format!("(({plain}))"),
    ] {
        assert_eq!(listed(&pattern), (true, 10_000), "{pattern:.60}");
    }
    for pattern in [format!("{plain}|x.*"), format!("(x.*|{plain})"), format!("^({escaped}|x.*|y+)$")] {
        assert_eq!(listed(&pattern), (false, 10_000), "{pattern:.60}");
        let pattern = Pattern::new(&pattern, &Budget::unlimited()).unwrap();
        assert!(
            pattern.is_match("web-00017/example") && pattern.is_match("xyz") && !pattern.is_match("web-x")
        );
        assert!(pattern.walker().is_some());
    }
    for (pattern, expected) in [
        ("a(b|c)?d", (true, 3)),
        ("(a|b)(c|d)", (true, 4)),
        ("a|a", (true, 1)),
        ("", (true, 1)),
        ("(?i)a-1", (false, 0)),
        ("(?i)-1", (true, 1)),
        ("a{1}b{0}", (true, 1)),
        ("a+|b", (false, 1)),
        ("a$b|c", (false, 1)),
        ("(a|x.*)b", (false, 0)),
        ("(?:a|b){20}", (false, 0)),
    ] {
        assert_eq!(listed(pattern), expected, "{pattern}");
    }
    // What multiplies to more than is written stays an expression.
    assert_eq!(listed(&"(a|b)".repeat(20)), (false, 0));
}

#[test]
fn what_go_takes_fits_into_little_memory() {
    let dots = r"[\p{L}\p{N}_-]{1,255}(\.[\p{L}\p{N}_-]{1,255})?";
    for (pattern, text, other) in [
        (dots, "web-号.example", "a..b"),
        (r"\pL{1,200}", "é", ""),
        (r"\pL{1000}", "é", ""),
        (r"(?:\pL{1,30}\b.){1,30}", "abc-", "1"),
        (r"[^\x{100}-\x{ffff}]{1,900}(?i:straße){1,90}", "xSTRASSE", "\u{100}"),
        ("(?m)(?:^.{1,300}$\n?){1,3}", "a\nb", ""),
    ] {
        let budget = Budget::new("request", 16 << 20);
        let compiled =
            Pattern::with_groups(pattern, &budget).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let reference =
            regex::RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(1 << 30).build().unwrap();
        for text in [text, other] {
            assert_eq!(compiled.is_match(text), reference.is_match(text), "{pattern} {text:?}");
        }
        assert!(budget.held() > 0);
        drop(compiled);
        assert_eq!(budget.held(), 0, "{pattern}");
    }
    let compiled = Pattern::with_groups(dots, &Budget::unlimited()).unwrap();
    let groups = compiled.groups("号号.é").unwrap();
    assert_eq!((groups.get(0), groups.get(1), groups.get(2)), (Some(0..9), Some(6..9), None));
}

#[test]
fn a_budget_without_room_refuses_with_its_name() {
    let budget = Budget::new("query_memory_bytes_max", 1 << 20);
    for pattern in [
        "x|".repeat(20_000),
        r"(?i:\pL[^a])".repeat(500),
        "((a{1,30}){1,30}|b{1,900}c){1}".repeat(30),
        format!("({})x(a|b)", "abcdefgh|".repeat(20_000)),
        "é".repeat(300_000),
    ] {
        let error = Pattern::new(&pattern, &budget).expect_err(&pattern[..20]);
        assert_eq!(error.limit(), Some("query_memory_bytes_max"), "{error}");
        assert!(error.to_string().len() < 400, "{error}");
        assert_eq!(budget.held(), 0);
    }
    // What was refused does not stand in the way of what fits.
    assert!(Pattern::new("a.*", &budget).is_ok());
}

/// Patterns of lists, groups, flags and wildcards.
fn patterns() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abx]{1,2}",
        Just(r"\.".to_owned()),
        Just("[.]".to_owned()),
        Just("é".to_owned()),
        Just(".".to_owned()),
        Just("x.*".to_owned()),
        Just("[^a]".to_owned()),
        Just(r"\pL".to_owned()),
        Just(String::new()),
        Just("^".to_owned()),
        Just("$".to_owned()),
        Just(r"\b".to_owned()),
        Just("(?i)".to_owned()),
        Just("(?m)".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            3 => prop::collection::vec(inner.clone(), 1..5).prop_map(|parts| format!("({})", parts.join("|"))),
            2 => prop::collection::vec(inner.clone(), 1..5).prop_map(|parts| parts.join("|")),
            1 => inner.clone().prop_map(|part| format!("(?:{part})")),
            1 => (inner.clone(), "[?*]|[?][?]|[{][012][}]").prop_map(|(part, times)| format!("({part}){times}")),
            1 => (inner, "[?*+]").prop_map(|(part, times)| format!("{part}b{times}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn lists_and_automata_match_as_the_crate_does(
        pattern in patterns(),
        mut texts in prop::collection::vec("[abxAé.\n-]{0,5}", 1..12),
    ) {
        let Some(reference) = reference(&pattern) else { return Ok(()) };
        let plain = Pattern::new(&pattern, &Budget::unlimited()).unwrap();
        let with_groups = compiled(&pattern).unwrap();
        texts.extend(plain.words().map(str::to_owned).take(20));
        for text in &texts {
            let expected = reference.captures(text);
            prop_assert_eq!(plain.is_match(text), expected.is_some(), "{} {:?}", &pattern, text);
            let groups = with_groups.groups(text);
            prop_assert_eq!(groups.is_some(), expected.is_some(), "{} {:?}", &pattern, text);
            let (Some(groups), Some(expected)) = (groups, expected) else { continue };
            for group in 0..=expected.len() {
                let expected = expected.get(group).map(|found| found.range());
                prop_assert_eq!(groups.get(group), expected, "{} {:?} {}", &pattern, text, group);
            }
        }
    }

    #[test]
    fn letters_match_as_characters_do(
        pattern in patterns(),
        texts in prop::collection::vec("[abxAé.\n\u{100}1_-]{0,5}", 1..12),
    ) {
        let Some(reference) = reference(&pattern) else { return Ok(()) };
        let hir = automaton::parse(reference.as_str()).unwrap();
        let (alphabet, hir) = alphabet::Alphabet::of(&hir).unwrap();
        let config = regex_automata::meta::Config::new().utf8_empty(false);
        let regex = regex_automata::meta::Builder::new().configure(config).build_from_hir(&hir).unwrap();
        for text in &texts {
            let letters: Vec<u8> = text.chars().map(|c| alphabet.letter(c)).collect();
            prop_assert_eq!(regex.is_match(&letters), reference.is_match(text), "{} {:?}", &pattern, text);
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_written_is_translated_or_refused_here(
        pattern in r"([a-zA-Z0-9é{}()\[\]|*+?^$.,:<>&~\- ]|\\.|\(\?[imsUP<:\-]|\[:[a-z]*:\]|[{][0-9]{1,2}[}]){0,24}",
    ) {
        let result = compiled(&pattern);
        prop_assert!(!matches!(result, Err(PatternError::Unsupported(_))), "{result:?}");
    }

    #[test]
    fn arbitrary_text_never_panics(pattern in any::<String>()) {
        let result = compiled(&pattern);
        prop_assert!(!matches!(result, Err(PatternError::Unsupported(_))), "{result:?}");
    }

    #[test]
    fn an_escaped_text_matches_itself_alone(text in any::<String>(), around in "[ab\n]{1,2}") {
        for pattern in [regex::escape(&text), format!("(?:{})", regex::escape(&text)), format!(r"\Q{text}\E")] {
            if pattern.starts_with(r"\Q") && text.contains('\\') {
                continue;
            }
            let regex = compiled(&pattern).unwrap();
            prop_assert!(regex.is_match(&text));
            let longer = format!("{around}{text}");
            prop_assert!(!regex.is_match(&longer));
            let longer = format!("{text}{around}");
            prop_assert!(!regex.is_match(&longer));
        }
    }
}
