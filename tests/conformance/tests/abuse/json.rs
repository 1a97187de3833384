//! 2.3: JSON that is hard on those who read it.

use realtime_testkit::raw::CLOSE;
use realtime_testkit::{Server, TestApp};
use serde_json::json;

use crate::PUBLISH;
use crate::measure::Neighbour;

/// How deep a payload may nest (docs/protocol.md).
const LEVELS: usize = 100;

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}{}", open.repeat(depth), close.repeat(depth))
}

/// Publishes a payload as it stands; what subscribers get of it, or the close code.
async fn relayed(app: &TestApp, payload: &str) -> Result<String, u16> {
    let mut socket = app.connect_raw(&app.sign(json!({"permissions": [PUBLISH]})), &[]).await;
    socket.expect_frame().await;
    socket.write_text(r#"{"type":"subscribe","data":{"topic":"t"}}"#).await;
    socket.expect_frame().await;
    socket
        .write_text(&format!(r#"{{"type":"publish","data":{{"topic":"t","payload":{payload},"id":"i"}}}}"#))
        .await;
    let frame = socket.expect_frame().await;
    if frame.opcode() == CLOSE {
        return Err(frame.close().0);
    }
    let text = String::from_utf8(frame.payload).unwrap();
    let (_, payload) = text.split_once(r#""payload":"#).unwrap();
    Ok(payload.strip_suffix(r#","id":"i"}}"#).unwrap_or_else(|| panic!("{text}")).to_owned())
}

/// Many readers give up, or crash, far below the depth that fits 5 KB.
#[tokio::test]
async fn a_payload_that_nests_too_deep_is_1008_and_400() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    for (open, close) in [("[", "]"), (r#"{"a":[{"b":"#, "}]}")] {
        let (levels, inner) = if open == "[" { (LEVELS, "") } else { (LEVELS / 3, "1") };
        let fits = format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
        assert_eq!(relayed(&app, &fits).await.as_ref(), Ok(&fits));
        let deep = format!("{}{inner}{}", open.repeat(levels + 1), close.repeat(levels + 1));
        assert_eq!(relayed(&app, &deep).await, Err(1008), "{deep}");
    }
    assert_eq!(relayed(&app, &nested("[", "]", 2400)).await, Err(1008));
    // Brackets in texts nest nothing, and neither do many side by side.
    let texts = format!(r#"["{}","\"{}\\",[{}0]]"#, "[".repeat(500), "{".repeat(500), "[],".repeat(500));
    assert_eq!(relayed(&app, &texts).await, Ok(texts));
    for (depth, status) in [(LEVELS, 200), (LEVELS + 1, 400), (2400, 400)] {
        let body = format!(r#"{{"topic":"t","message":{}}}"#, nested("[", "]", depth));
        let path = format!("/api/topics/{}/publish", app.id());
        let answer = app.api(&[PUBLISH], "POST", &path).body("application/json", body).send().await;
        assert_eq!(answer.status, status, "{depth}: {}", answer.text());
    }
    Neighbour::of(&server).await.is_served().await;
}

/// What is JSON is relayed as it was sent: numbers that fit no type, halves of surrogates, repeated keys.
#[tokio::test]
async fn payloads_at_the_edges_of_json_are_relayed_as_they_stand() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let payloads = [
        format!("[{}]", "9".repeat(4000)),
        format!("[-0.{}e-999]", "0".repeat(2000)),
        "[1E400,-1e400,1e-400,0e99999999999]".into(),
        r#"["\ud800","\udc00\ud800","\u0000","\u0007"]"#.into(),
        r#"{"a":1,"a":2,"a":{"__proto__":null,"__proto__":[]}}"#.into(),
        r#"{"":"","\u0061":1,"a":2}"#.into(),
        format!("[{}]", vec!["{}"; 1200].join(",")),
        "[\t\r\n 1 ,\u{2028}\"\u{2029}\u{feff}\u{fffe}\"]".replace('\u{2028}', ""),
    ];
    for payload in payloads {
        assert_eq!(relayed(&app, &payload).await.as_ref(), Ok(&payload));
    }
}

#[tokio::test]
async fn what_is_almost_json_is_1008() {
    let server = Server::start().await;
    let app = server.app().set("tier", "unlimited").create().await;
    let payloads = [
        "[01]",
        "[+1]",
        "[.5]",
        "[1.]",
        "[1e]",
        "[NaN]",
        "[Infinity]",
        "[0x1]",
        "['a']",
        "[1,]",
        "[,1]",
        "{a:1}",
        "{\"a\":1,}",
        "{\"a\"}",
        "[\"\t\"]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[true false]",
        "[// c\n]",
        "[1]]",
        "[[1]",
        "[\u{a0}1]",
        "[\u{feff}1]",
        "[tru]",
    ];
    for payload in payloads {
        assert_eq!(relayed(&app, payload).await, Err(1008), "{payload}");
    }
}
