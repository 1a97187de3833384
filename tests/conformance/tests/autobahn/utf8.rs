//! 6: UTF-8. The sequences of 6.5 to 6.23 are those of Markus Kuhn's "UTF-8 decoder capability and stress test".

use realtime_testkit::raw::{CONTINUATION, FIN, TEXT, encode};

use crate::bench::{Bench, Case, Message, ping};

/// "kosme" in Greek, with the accented letter of three bytes.
const KOSME: &[u8] = "κ\u{1f79}σμε".as_bytes();
const HELLO: &str = "Hello-µ@ßöäüàá-UTF-8!!";

#[tokio::test]
async fn case_6_1_empty_fragments() {
    let message = Message::text("middle frame payload");
    let empty = |first_byte| encode(first_byte, b"");
    let nothing = [empty(TEXT), empty(CONTINUATION), empty(FIN | CONTINUATION)].concat();
    let around = [empty(TEXT), encode(CONTINUATION, &message.bytes()), empty(FIN | CONTINUATION)].concat();
    let cases = [
        Case::new("6.1.1").write(empty(FIN | TEXT)).closes(1008),
        Case::new("6.1.2").write(nothing).closes(1008),
        Case::new("6.1.3").write(around).echo(&message),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_6_2_valid_text_in_fragments_between_and_within_characters() {
    let (hello, kosme) = (Message::text(HELLO), Message::text(KOSME));
    let bytes = hello.bytes();
    let cut = bytes.windows(2).position(|window| window == "ü".as_bytes()).unwrap();
    let halves = [encode(TEXT, &bytes[..cut]), encode(FIN | CONTINUATION, &bytes[cut..])].concat();
    let cases = [
        Case::new("6.2.1").write(hello.frame()).echo(&hello),
        Case::new("6.2.2").write(halves).echo(&hello),
        Case::new("6.2.3").write(hello.fragments(1).concat()).echo(&hello),
        Case::new("6.2.4").write(kosme.fragments(1).concat()).echo(&kosme),
    ];
    Bench::start().await.run(cases).await;
}

#[tokio::test]
async fn case_6_3_invalid_text_however_it_is_cut_closes_with_1007() {
    let message = Message::text([KOSME, b"\xed\xa0\x80edited"].concat());
    let cases = [
        Case::new("6.3.1").write(message.frame()).closes(1007),
        Case::new("6.3.2").write(message.fragments(1).concat()).closes(1007),
    ];
    Bench::start().await.run(cases).await;
}

/// The last part is never sent: the byte that makes the text invalid must be enough.
#[tokio::test]
async fn case_6_4_invalid_text_fails_at_its_first_invalid_byte() {
    let message = Message::text([KOSME, b"\xf4\x90\x80\x80edited"].concat());
    let bytes = message.bytes();
    let begin = bytes.windows(4).position(|window| window == b"\xf4\x90\x80\x80").unwrap();
    let mut cases = Vec::new();
    // In frames: the parts of the first case are valid text and the whole invalid character; the second cuts within it.
    for (number, from, to) in [("6.4.1", begin, begin + 4), ("6.4.2", begin + 1, begin + 2)] {
        let accepted = [encode(TEXT, &bytes[..from]), ping(b"A")].concat();
        let fails = encode(CONTINUATION, &bytes[from..to]);
        cases.push(Case::new(number).write(accepted).pong(b"A").write(fails).closes(1007));
    }
    // The same in pieces of one frame, which may go on validly, too.
    let valid = Message::text([KOSME, "\u{10ffff}edited".as_bytes()].concat());
    for (number, from, to) in [("6.4.3", begin, begin + 4), ("6.4.4", begin + 1, begin + 2)] {
        let (frame, other) = (message.frame(), valid.frame());
        let head = frame.len() - bytes.len();
        assert_eq!(frame[..head + from], other[..head + from], "the accepted part is the same");
        let chops =
            |frame: &[u8], to: usize| [frame[..head + from].to_vec(), frame[head + from..to].to_vec()];
        cases.push(Case::new(number).frames(chops(&other, other.len())).echo(&valid));
        cases.push(Case::new(number).frames(chops(&frame, head + to)).closes(1007));
    }
    Bench::start().await.run(cases).await;
}

/// A sequence, and whether it is UTF-8.
type Sequence = (bool, Vec<u8>);

fn all(valid: bool, sequences: &[&[u8]]) -> Vec<Sequence> {
    sequences.iter().map(|sequence| (valid, sequence.to_vec())).collect()
}

/// Every prefix; those that end with a character are valid.
fn prefixes() -> Vec<Sequence> {
    const ENDS: [usize; 5] = [2, 5, 7, 9, 11];
    (1..=KOSME.len()).map(|end| (ENDS.contains(&end), KOSME[..end].to_vec())).collect()
}

/// First bytes, each followed by a space.
fn lonely(range: std::ops::Range<u8>) -> Vec<u8> {
    range.flat_map(|byte| [byte, b' ']).collect()
}

/// Sequences whose last byte is missing.
const UNFINISHED: [&[u8]; 10] = [
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
];

/// The last two code points of each plane, which are no characters and yet valid.
fn non_characters() -> Vec<Sequence> {
    let planes = (0..=0x10_u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    planes.map(|code| (true, char::from_u32(code).unwrap().to_string().into_bytes())).collect()
}

/// 6.5 to 6.14.
fn boundaries() -> Vec<Vec<Sequence>> {
    let mut other = all(true, &[b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf"]);
    other.extend(all(false, &[b"\xf4\x90\x80\x80"]));
    let continuations: Vec<u8> = (0x80..0xbf).collect();
    let lonely =
        [lonely(0xc0..0xdf), lonely(0xe0..0xef), lonely(0xf0..0xf7), lonely(0xf8..0xfb), lonely(0xfc..0xfd)];
    vec![
        all(
            true,
            &[
                b"hello$world",
                "hello¢world".as_bytes(),
                "hello€world".as_bytes(),
                "hello𤭢world".as_bytes(),
                KOSME,
            ],
        ),
        prefixes(),
        all(true, &[b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"]),
        all(false, &[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
        all(true, &[b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"]),
        all(false, &[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
        other,
        all(
            false,
            &[
                b"\x80",
                b"\xbf",
                b"\x80\xbf",
                b"\x80\xbf\x80",
                b"\x80\xbf\x80\xbf",
                b"\x80\xbf\x80\xbf\x80",
                b"\x80\xbf\x80\xbf\x80\xbf",
                &continuations,
            ],
        ),
        lonely.map(|bytes| (false, bytes)).to_vec(),
        all(false, &UNFINISHED),
    ]
}

/// 6.15 to 6.23.
fn impossible() -> Vec<Vec<Sequence>> {
    let surrogate = |high: &[u8], low: &[u8]| (false, [b"\xed", high, b"\xed", low].concat());
    let highs: [&[u8]; 4] = [b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf"];
    let lows: [&[u8]; 2] = [b"\xb0\x80", b"\xbf\xbf"];
    vec![
        vec![(false, UNFINISHED.concat())],
        all(false, &[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
        all(
            false,
            &[
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xf0\x80\x80\xaf",
                b"\xf8\x80\x80\x80\xaf",
                b"\xfc\x80\x80\x80\x80\xaf",
            ],
        ),
        all(
            false,
            &[
                b"\xc1\xbf",
                b"\xe0\x9f\xbf",
                b"\xf0\x8f\xbf\xbf",
                b"\xf8\x87\xbf\xbf\xbf",
                b"\xfc\x83\xbf\xbf\xbf\xbf",
            ],
        ),
        all(
            false,
            &[
                b"\xc0\x80",
                b"\xe0\x80\x80",
                b"\xf0\x80\x80\x80",
                b"\xf8\x80\x80\x80\x80",
                b"\xfc\x80\x80\x80\x80\x80",
            ],
        ),
        all(
            false,
            &[
                b"\xed\xa0\x80",
                b"\xed\xad\xbf",
                b"\xed\xae\x80",
                b"\xed\xaf\xbf",
                b"\xed\xb0\x80",
                b"\xed\xbe\x80",
                b"\xed\xbf\xbf",
            ],
        ),
        highs.iter().flat_map(|high| lows.map(|low| surrogate(high, low))).collect(),
        non_characters(),
        ('\u{fff9}'..='\u{ffff}').map(|c| (true, c.to_string().into_bytes())).collect(),
    ]
}

/// How a sequence stands in a JSON string: control characters are escaped.
fn escaped(sequence: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| if *byte < 0x20 { format!("\\u{byte:04x}").into_bytes() } else { vec![*byte] };
    sequence.iter().flat_map(escape).collect()
}

/// Each sequence alone, which is no JSON object at best, and as a payload.
fn cases(first_section: usize, sections: Vec<Vec<Sequence>>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, sequences) in sections.into_iter().enumerate() {
        for (j, (valid, sequence)) in sequences.into_iter().enumerate() {
            let number = format!("6.{}.{}", first_section + i, j + 1);
            let alone = Case::new(format!("{number}, alone")).write(encode(FIN | TEXT, &sequence));
            cases.push(alone.closes(if valid { 1008 } else { 1007 }));
            let message = Message::text(escaped(&sequence));
            let inside = Case::new(number).write(message.frame());
            cases.push(if valid { inside.echo(&message) } else { inside.closes(1007) });
        }
    }
    cases
}

#[tokio::test]
async fn case_6_5_to_6_14_sequences_and_their_boundaries() {
    Bench::start().await.run(cases(5, boundaries())).await;
}

#[tokio::test]
async fn case_6_15_to_6_23_impossible_overlong_and_surrogate_sequences_and_special_characters() {
    Bench::start().await.run(cases(15, impossible())).await;
}

/// One that was forgotten here would not fail elsewhere.
#[test]
fn case_6_5_to_6_23_has_every_number_of_the_list() {
    let counts: Vec<usize> = boundaries().iter().chain(&impossible()).map(Vec::len).collect();
    assert_eq!(counts, [5, 11, 4, 2, 4, 3, 5, 8, 5, 10, 1, 3, 5, 5, 5, 7, 8, 34, 7]);
}
