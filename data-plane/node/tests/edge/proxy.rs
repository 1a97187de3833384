//! The PROXY protocol before HTTP, with and without TLS.

use std::time::Duration;

use realtime_data_plane::FrontDoorLimits;
use realtime_proto::AddressList;
use realtime_testkit::route::{Route, proxy_header};
use serde_json::json;

use crate::fixture::{AUTHORITY, Node, Setup, token, within};
use crate::wire::{Client, opening};

const REFUSED: &str = "realtime_proxy_protocol_refusals_total";

fn setup(proxies: &str) -> Setup {
    let proxies = AddressList::parse(&[proxies.to_owned()], "proxies").unwrap();
    Setup { proxies: Some(proxies), ..Setup::default() }
}

/// What the welcome says of the client, after these bytes and an opening with these header lines.
async fn remote_address(node: &Node, before: &[u8], headers: &str) -> String {
    let mut client = Client::connect(node.address).await;
    let target = format!("/apps/a?access_token={}", token("s"));
    client.send(&[before, opening(&target, headers).as_bytes()].concat()).await;
    let welcome = client.json_after_upgrade().await;
    welcome["data"]["connection"]["remoteAddress"].as_str().unwrap().to_owned()
}

fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
}

#[tokio::test]
async fn the_header_names_the_client() {
    let node = Node::start(setup("127.0.0.1")).await;
    for address in ["192.0.2.7", "2001:db8::7"] {
        assert_eq!(remote_address(&node, &proxy_header(address.parse().unwrap()), "").await, address);
    }
    let mapped = proxy_header("::ffff:192.0.2.7".parse().unwrap());
    assert_eq!(remote_address(&node, &mapped, "").await, "192.0.2.7");
    assert_eq!(node.counted(REFUSED), 0);
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_counts_with_its_own_address() {
    let node = Node::start(setup("127.0.0.0/8")).await;
    // LOCAL, also with addresses; unspecified; a Unix socket; type-length-values up to the last byte that fits.
    for before in [
        header(0x20, 0, &[]),
        header(0x20, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0, 1, 0, 2]),
        header(0x21, 0, b"anything"),
        header(0x21, 0x31, &[b'/'; 216]),
        header(0x20, 0, &[0xee; 65_535]),
    ] {
        assert_eq!(remote_address(&node, &before, "").await, "127.0.0.1");
    }
}

#[tokio::test]
async fn trusted_proxies_go_on_from_the_address_that_the_header_names() {
    let settings = json!({"trustedProxies": ["10.0.0.0/8"]});
    let node = Node::start(Setup { settings, ..setup("127.0.0.1") }).await;
    let forwarded = "X-Forwarded-For: 203.0.113.9, 10.0.0.2\r\n";
    let through = |address: &str| proxy_header(address.parse().unwrap());
    assert_eq!(remote_address(&node, &through("10.0.0.1"), forwarded).await, "203.0.113.9");
    assert_eq!(remote_address(&node, &through("192.0.2.7"), forwarded).await, "192.0.2.7");
    // The balancer's own address is trusted for the header, and for nothing else.
    assert_eq!(remote_address(&node, &header(0x20, 0, &[]), forwarded).await, "127.0.0.1");
}

#[tokio::test]
async fn whoever_does_not_begin_with_a_header_is_turned_away() {
    let node = Node::start(setup("127.0.0.1")).await;
    let request = opening(&format!("/apps/a?access_token={}", token("s")), "");
    let bad = [
        request.clone().into_bytes(),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
        header(0x11, 0x11, &[0; 12]),
        header(0x22, 0x11, &[0; 12]),
        header(0x21, 0x41, &[0; 12]),
        header(0x21, 0x11, &[0; 11]),
        header(0x21, 0x21, &[0; 35]),
    ];
    for (before, refused) in bad.iter().zip(1..) {
        let mut client = Client::connect(node.address).await;
        client.send(before).await;
        assert!(client.end().await.is_empty(), "{before:?}");
        node.eventually("the count", |node| node.counted(REFUSED) == refused).await;
    }
    let mut cut = Client::connect(node.address).await;
    cut.send(&proxy_header([192, 0, 2, 7].into())[..20]).await;
    drop(cut);
    node.eventually("the count", |node| node.counted(REFUSED) == bad.len() as u64 + 1).await;
}

#[tokio::test]
async fn from_an_address_that_is_not_listed_no_header_counts() {
    let node = Node::start(setup("192.0.2.1")).await;
    let client = Client::connect(node.address).await;
    assert!(client.end().await.is_empty(), "not a byte is waited for");
    assert_eq!(node.counted(REFUSED), 1);
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let limits =
        FrontDoorLimits { handshake_within: Duration::from_millis(300), ..FrontDoorLimits::default() };
    let node = Node::start(Setup { limits, ..setup("127.0.0.1") }).await;
    let silent = Client::connect(node.address).await;
    let mut slow = Client::connect(node.address).await;
    slow.send(&header(0x20, 0, &[0; 1000])[..900]).await;
    assert!(silent.end().await.is_empty());
    assert!(slow.end().await.is_empty());
    assert_eq!(node.counted(REFUSED), 2);
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let settings = json!({"trustedProxies": ["10.0.0.0/8"]});
    let node = Node::start(Setup { tls: true, settings, ..setup("127.0.0.1") }).await;
    for (source, forwarded, expected) in [
        ("192.0.2.7", "", "192.0.2.7"),
        ("10.0.0.1", "Forwarded: for=203.0.113.9\r\n", "203.0.113.9"),
        ("192.0.2.7", "Forwarded: for=203.0.113.9\r\n", "192.0.2.7"),
    ] {
        let tls = Some(AUTHORITY.client(&["http/1.1"]));
        let route = Route { tls, proxied_from: Some(source.parse().unwrap()) };
        let mut client = Client::over(within(route.connect(&node.address.to_string())).await.unwrap());
        let target = format!("/apps/a?access_token={}", token("s"));
        client.send(opening(&target, forwarded).as_bytes()).await;
        let welcome = client.json_after_upgrade().await;
        assert_eq!(welcome["data"]["connection"]["remoteAddress"], expected);
    }
    // TLS without the header is not what the port speaks.
    let direct = Route { tls: Some(AUTHORITY.client(&["http/1.1"])), proxied_from: None };
    assert!(within(direct.connect(&node.address.to_string())).await.is_err());
    node.eventually("the count", |node| node.counted(REFUSED) == 1).await;
}
