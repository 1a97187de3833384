//! Permission patterns (docs/contract.md 2.4): `isMatch(topic, patterns)` of the npm module `matcher` 6.1, with
//! `{caseSensitive: true}` where the application's `permissionCase` is `"sensitive"`.

use std::collections::BTreeSet;

use realtime_differential::{Oracle, Random, node, seeds};
use realtime_proto::{PatternSet, PermissionCase};
use serde_json::{Value, json};

/// Random cases for each seed.
const CASES: usize = 12_000;
/// Patterns in a list.
const MOST_PATTERNS: usize = 6;

/// What patterns and topics are made of: wildcards, marks, regular expressions' characters, and letters whose
/// case is hard: longer in the other case, ASCII in the other case, beyond the basic plane, or composed.
const PIECES: [&str; 66] = [
    "a",
    "A",
    "b",
    "B",
    "k",
    "K",
    "s",
    "S",
    "i",
    "I",
    "x",
    "0",
    " ",
    "*",
    "*",
    "*",
    "*",
    "**",
    "\\",
    "\\",
    "\\*",
    "\\\\",
    "!",
    "!",
    "\\!",
    "/",
    "/",
    "secure/",
    "Secure/",
    "priv/",
    ".",
    ".*",
    "?",
    "[ab]",
    "(a|b)",
    "{a,b}",
    "^",
    "$",
    "+",
    "|",
    "\n",
    "\r\n",
    "\t",
    "\u{0}",
    "\u{2028}",
    "İ",
    "ı",
    "i\u{307}",
    "ß",
    "ẞ",
    "SS",
    "ſ",
    "\u{212a}",
    "å",
    "\u{212b}",
    "σ",
    "ς",
    "Σ",
    "µ",
    "μ",
    "ǆ",
    "ǅ",
    "ﬁ",
    "é",
    "😀",
    "\u{10428}",
];

struct Case {
    patterns: Vec<String>,
    topic: String,
}

impl Case {
    fn new(patterns: &[&str], topic: &str) -> Self {
        Self { patterns: patterns.iter().map(|&p| p.to_owned()).collect(), topic: topic.to_owned() }
    }

    fn ours(&self) -> [bool; 2] {
        [PermissionCase::Insensitive, PermissionCase::Sensitive]
            .map(|case| PatternSet::new(self.patterns.iter().map(String::as_str), case).matches(&self.topic))
    }
}

/// Compares in one question; how many matched, so that a test can tell that both answers occur.
#[track_caller]
fn assert_agree(node: &Oracle, cases: &[Case], about: &str) -> usize {
    let question: Vec<_> = cases.iter().map(|case| json!([case.patterns, case.topic])).collect();
    let answers = node.ask("match", json!({"cases": question}));
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), cases.len());
    let mut wrong = Vec::new();
    let mut matched = 0;
    for (case, theirs) in cases.iter().zip(answers) {
        let ours = case.ours();
        matched += usize::from(ours[0]);
        if json!(ours) != *theirs {
            wrong.push(format!("{:?} on {:?}: {ours:?}, matcher {theirs}", case.patterns, case.topic));
        }
    }
    assert!(
        wrong.is_empty(),
        "{about}: {} of {} differ: {:#?}",
        wrong.len(),
        cases.len(),
        &wrong[..wrong.len().min(20)]
    );
    matched
}

fn text(random: &mut Random, most: usize) -> String {
    let pieces = random.below(most + 1);
    (0..pieces).map(|_| *random.pick(&PIECES)).collect()
}

/// A topic that the pattern is likely to match, or to miss by little.
fn near(random: &mut Random, pattern: &str) -> String {
    let mut topic = String::new();
    let mut characters = pattern.strip_prefix('!').unwrap_or(pattern).chars();
    while let Some(c) = characters.next() {
        match c {
            '*' => topic += &text(random, 3),
            '\\' => topic.push(characters.next().unwrap_or('\\')),
            c if random.one_in(4) => topic.extend(c.to_uppercase()),
            c if random.one_in(4) => topic.extend(c.to_lowercase()),
            c if random.one_in(40) => topic.extend([c, c]),
            _ if random.one_in(40) => {}
            c => topic.push(c),
        }
    }
    topic
}

fn random_case(random: &mut Random) -> Case {
    let mut patterns: Vec<String> = (0..random.below(MOST_PATTERNS + 1)).map(|_| text(random, 7)).collect();
    for pattern in &mut patterns {
        if random.one_in(4) {
            pattern.insert(0, '!');
        }
    }
    let topic = if patterns.is_empty() || random.one_in(3) {
        text(random, 6)
    } else {
        let pattern = random.pick(&patterns).clone();
        near(random, &pattern)
    };
    Case { patterns, topic }
}

#[test]
fn random_lists_match_what_the_npm_module_matches() {
    let Some(node) = node() else { return };
    for seed in seeds() {
        let mut random = Random::new(seed);
        let cases: Vec<_> = (0..CASES).map(|_| random_case(&mut random)).collect();
        let matched = assert_agree(node, &cases, &format!("seed {seed}"));
        assert!(matched > CASES / 10 && matched < CASES * 9 / 10, "seed {seed}: {matched} match");
    }
}

/// All short texts over the characters that have a meaning, as a pattern and as a topic, alone and negated in a list.
#[test]
fn every_short_pattern_matches_what_the_npm_module_matches() {
    let Some(node) = node() else { return };
    let alphabet = ["a", "A", "*", "\\", "!", "/"];
    let mut texts = vec![String::new()];
    let mut longest = texts.clone();
    for _ in 0..3 {
        longest = longest.iter().flat_map(|text| alphabet.map(|piece| format!("{text}{piece}"))).collect();
        texts.extend(longest.iter().cloned());
    }
    let topics =
        ["", "a", "A", "*", "\\", "!", "/", "aa", "a/", "!a", "\\a", "a\\", "**", "\\*", "!*", "a/a"];
    let mut cases = Vec::new();
    for pattern in &texts {
        for topic in topics {
            cases.push(Case::new(&[pattern], topic));
            cases.push(Case::new(&["*", pattern], topic));
            cases.push(Case::new(&["!a", pattern], topic));
        }
    }
    assert_agree(node, &cases, "short patterns");
}

/// Every character that has another case here or there, in every direction. Where Node and Rust were built with
/// different versions of Unicode, only the pairs that both know can be compared.
#[test]
fn every_character_folds_as_in_the_npm_module() {
    let Some(node) = node() else { return };
    let answer = node.ask("case_pairs", json!({}));
    let theirs: BTreeSet<_> =
        answer.as_array().unwrap().iter().map(|pair| (text_of(&pair[0]), text_of(&pair[1]))).collect();
    let mut ours = BTreeSet::new();
    for c in '\0'..=char::MAX {
        for other in [c.to_uppercase().to_string(), c.to_lowercase().to_string()] {
            if other != c.to_string() {
                ours.insert((c.to_string(), other));
            }
        }
    }
    let unicode = format!("{}.{}", char::UNICODE_VERSION.0, char::UNICODE_VERSION.1);
    let pairs: Vec<_> = if node.versions()["unicode"] == unicode {
        theirs.union(&ours).collect()
    } else {
        theirs.intersection(&ours).collect()
    };
    assert!(pairs.len() > 2_500, "both know Unicode");
    let mut cases = Vec::new();
    for (one, other) in pairs {
        cases.push(Case::new(&[one], other));
        cases.push(Case::new(&[other], one));
        cases.push(Case::new(&[&format!("*{one}x")], &format!("y{other}X")));
    }
    assert_agree(node, &cases, &format!("case pairs, {}", node.versions()));
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// What makes a backtracking matcher slow; and lengths around the limits of topics.
#[test]
fn long_and_repetitive_patterns_match_what_the_npm_module_matches() {
    let Some(node) = node() else { return };
    let mut cases = Vec::new();
    for stars in [1, 10, 100] {
        for length in [0, 1, 99, 100, 101, 255, 256, 257, 5_000] {
            let topic = "a".repeat(length);
            for pattern in ["a*".repeat(stars), "*a".repeat(stars), "*aa*".repeat(stars), "a*b".repeat(stars)]
            {
                cases.push(Case::new(&[&pattern], &topic));
                cases.push(Case::new(&[&format!("{pattern}b")], &topic));
                cases.push(Case::new(&["*", &format!("!{pattern}")], &format!("{topic}é")));
            }
        }
    }
    assert_agree(node, &cases, "long patterns");
}
