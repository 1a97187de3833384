//! 5: address lists, as callers from many addresses meet them (behind a trusted proxy, which is us).

use realtime_testkit::{RawSocket, Server};
use serde_json::{Value, json};

use crate::{APPLICATION, apps};

/// Lists, and the addresses that each lets in and keeps out.
fn lists() -> Vec<(Value, &'static [&'static str], &'static [&'static str])> {
    vec![
        (json!([]), &["203.0.113.9", "2001:db8::1"], &[]),
        (json!(["203.0.113.9"]), &["203.0.113.9", "::ffff:203.0.113.9"], &["203.0.113.8", "2001:db8::1"]),
        (json!(["203.0.113.0/24", "!203.0.113.9"]), &["203.0.113.8"], &["203.0.113.9", "198.51.100.1"]),
        (json!(["!203.0.113.9", "203.0.113.9"]), &[], &["203.0.113.9", "203.0.113.8"]),
        (
            json!(["!203.0.113.0/24"]),
            &["198.51.100.1", "2001:db8::1"],
            &["203.0.113.9", "::ffff:203.0.113.9"],
        ),
        (json!(["0.0.0.0/0"]), &["198.51.100.1", "2001:db8::1"], &[]),
        (json!(["0.0.0.0/0", "!2001:db8::/32"]), &["198.51.100.1", "2001:db9::1"], &["2001:db8::1"]),
        (json!(["::/0"]), &["2001:db8::1"], &["198.51.100.1"]),
        (json!(["::ffff:203.0.113.0/120"]), &["203.0.113.9"], &["198.51.100.1"]),
        (json!(["2001:db8::1"]), &["2001:db8::1", "2001:0db8:0:0::1"], &["2001:db8::2", "203.0.113.9"]),
    ]
}

#[tokio::test]
async fn lists_let_in_and_keep_out_clients_and_administrators_alike() {
    let server = Server::start().await;
    server.change_settings(|settings| settings["trustedProxies"] = json!(["127.0.0.0/8"])).await;
    let app = server.app().create().await;
    for (list, allowed, denied) in lists() {
        app.patch(&json!({"clientSourceAddress": list, "adminSourceAddress": list})).await;
        for (addresses, passes) in [(allowed, true), (denied, false)] {
            for &address in addresses {
                let from = [("X-Forwarded-For", address)];
                let path = app.path(&app.token("a", &[]));
                let opened = match RawSocket::open(app.address(), &path, &from).await {
                    Ok(_) => true,
                    Err(refusal) => {
                        refusal.expect_problem(403, "address_forbidden");
                        false
                    }
                };
                assert_eq!(opened, passes, "{address} against {list}");
                let read = app.api(&[APPLICATION], "GET", &apps::path(&app));
                let read = read.header("X-Forwarded-For", address).send().await;
                assert_eq!(read.status == 200, passes, "{address} against {list}: {}", read.text());
            }
        }
    }
    // Operators are not subject to lists.
    app.patch(&json!({"adminSourceAddress": ["10.0.0.0/8"]})).await;
    server.operator("GET", &apps::path(&app)).send().await.expect(200);
}
