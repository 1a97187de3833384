use std::net::IpAddr;

use crate::fields;
use proptest::prelude::*;
use realtime_proto::AddressList;
use realtime_proto::address::{MAX_ADDRESSES, client_address};

fn list(entries: &[&str]) -> AddressList {
    let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
    AddressList::parse(&entries, "list").unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_empty_list_allows_everyone_and_contains_nobody() {
    assert!(list(&[]).allows(ip("192.0.2.1")) && list(&[]).allows(ip("2001:db8::1")));
    assert!(!list(&[]).contains(ip("192.0.2.1")));
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    for entries in [["10.0.0.0/8", "!10.1.0.0/16"], ["!10.1.0.0/16", "10.0.0.0/8"]] {
        let list = list(&entries);
        assert!(list.allows(ip("10.2.0.1")));
        assert!(!list.allows(ip("10.1.0.1")), "denied");
        assert!(!list.allows(ip("11.0.0.1")), "not allowed");
    }
    assert!(!list(&["10.1.0.1", "!0.0.0.0/0"]).allows(ip("10.1.0.1")));
}

#[test]
fn with_only_denials_everyone_else_may() {
    let list = list(&["!192.0.2.0/24", "!2001:db8::/32"]);
    assert!(!list.allows(ip("192.0.2.9")) && !list.allows(ip("2001:db8::9")));
    assert!(list.allows(ip("192.0.3.9")) && list.allows(ip("2001:db9::9")));
    assert!(!list.contains(ip("192.0.3.9")), "a denial lists nobody");
}

#[test]
fn mapped_addresses_are_their_ipv4_addresses_on_both_sides() {
    assert!(list(&["10.0.0.0/8"]).allows(ip("::ffff:10.1.2.3")));
    assert!(!list(&["!10.1.2.3"]).allows(ip("::ffff:10.1.2.3")));
    for entry in ["::ffff:10.0.0.0/104", "::ffff:10.1.2.3"] {
        assert!(list(&[entry]).allows(ip("10.1.2.3")), "{entry}");
        assert!(!list(&[entry]).allows(ip("11.1.2.3")), "{entry}");
    }
}

#[test]
fn the_whole_ipv4_range_covers_ipv6_and_the_whole_ipv6_range_only_ipv6() {
    for address in ["192.0.2.1", "2001:db8::1", "::1"] {
        assert!(list(&["0.0.0.0/0"]).allows(ip(address)), "{address}");
        assert!(!list(&["!0.0.0.0/0"]).allows(ip(address)), "{address}");
    }
    assert!(list(&["::/0"]).allows(ip("2001:db8::1")));
    assert!(!list(&["::/0"]).allows(ip("192.0.2.1")));
}

#[test]
fn every_entry_that_is_no_address_is_named() {
    let entries =
        ["10.0.0.1", "10.0.0.0/33", "localhost", "", "!", "!!10.0.0.1", " 10.0.0.1", "::1/129", "1.2.3"];
    let entries: Vec<String> = entries.map(str::to_owned).to_vec();
    let expected: Vec<String> = (1..entries.len()).map(|i| format!("a.b[{i}]")).collect();
    assert_eq!(fields(AddressList::parse(&entries, "a.b")), expected);
    let many = vec!["10.0.0.1".to_owned(); MAX_ADDRESSES + 1];
    assert_eq!(fields(AddressList::parse(&many, "a")), ["a"]);
}

#[test]
fn entries_stay_as_they_were_written() {
    assert_eq!(
        list(&["!10.0.0.1/8", "::1"]).entries().iter().map(|e| &**e).collect::<Vec<_>>(),
        ["!10.0.0.1/8", "::1"]
    );
}

/// The client for headers that come through 10.0.0.1, with 10.0.0.0/8 and fd00::/8 trusted.
fn client(x_forwarded_for: Option<&str>, forwarded: Option<&str>) -> String {
    let trusted = list(&["10.0.0.0/8", "fd00::/8"]);
    client_address(ip("10.0.0.1"), x_forwarded_for, forwarded, &trusted).to_string()
}

#[test]
fn x_forwarded_for_is_walked_from_the_right_past_listed_proxies() {
    for (header, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1,10.0.0.2", "192.0.2.1"),
        ("nonsense, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        ("192.0.2.1:4711, fd00::2", "192.0.2.1"),
        ("[2001:db8::1]:4711, [fd00::2]:1, [fd00::3]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1, ::ffff:10.0.0.3", "192.0.2.1"),
        ("10.0.0.9, 10.0.0.2", "10.0.0.9"),
        ("", "10.0.0.1"),
        ("192.0.2.1, nonsense", "10.0.0.1"),
        ("192.0.2.1, nonsense, 10.0.0.2", "10.0.0.1"),
        ("192.0.2.1,", "10.0.0.1"),
        ("192.0.2.1:99999", "10.0.0.1"),
    ] {
        assert_eq!(client(Some(header), None), expected, "{header}");
    }
}

#[test]
fn forwarded_is_walked_from_the_right_past_listed_proxies() {
    for (header, expected) in [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=\"192.0.2.1:4711\";proto=https, for=10.0.0.2;by=10.0.0.1", "192.0.2.1"),
        ("proto=https;host=\"a,b;for=9.9.9.9\";for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        ("for=\"[2001:db8::1]\" , for=\"[fd00::2]\"", "2001:db8::1"),
        ("for=\"open quote, for=192.0.2.1", "192.0.2.1"),
        ("for=unknown, for=192.0.2.1", "192.0.2.1"),
        ("for=192.0.2.1;host=\"a\\\",b\"", "192.0.2.1"),
        ("for=10.0.0.9", "10.0.0.9"),
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden, for=10.0.0.2", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
        ("for=192.0.2.1;for=192.0.2.2", "10.0.0.1"),
        ("for=\"192.0.2.1", "10.0.0.1"),
        ("192.0.2.1", "10.0.0.1"),
        ("", "10.0.0.1"),
    ] {
        assert_eq!(client(None, Some(header)), expected, "{header}");
    }
}

#[test]
fn x_forwarded_for_counts_alone_where_both_headers_are_present() {
    assert_eq!(client(Some("192.0.2.1"), Some("for=192.0.2.2")), "192.0.2.1");
    assert_eq!(client(Some("nonsense"), Some("for=192.0.2.2")), "10.0.0.1");
}

#[test]
fn headers_of_peers_that_are_not_listed_are_ignored() {
    let client = |socket: &str, trusted: &[&str]| {
        client_address(ip(socket), Some("203.0.113.1"), Some("for=203.0.113.1"), &list(trusted)).to_string()
    };
    assert_eq!(client("192.0.2.1", &["10.0.0.0/8"]), "192.0.2.1");
    assert_eq!(client("192.0.2.1", &[]), "192.0.2.1");
    assert_eq!(client("::ffff:192.0.2.1", &[]), "192.0.2.1");
    assert_eq!(client("::ffff:10.0.0.1", &["10.0.0.0/8"]), "203.0.113.1");
}

proptest! {
    #[test]
    fn no_list_and_no_header_makes_the_walk_panic(
        entries in proptest::collection::vec("[!0-9a-f.:/\\[\\] ]{0,20}", 0..5),
        x in proptest::option::of("[0-9a-f.:,\"\\[\\]\\\\ ü]{0,60}"),
        f in proptest::option::of("(for=|[0-9a-f.:,;=\"\\[\\]\\\\ ü]){0,60}"),
    ) {
        let trusted = AddressList::parse(&entries, "l").unwrap_or_else(|_| list(&["0.0.0.0/0"]));
        let client = client_address(ip("10.0.0.1"), x.as_deref(), f.as_deref(), &trusted);
        prop_assert_eq!(client, client.to_canonical());
    }

    #[test]
    fn whatever_a_client_sends_before_what_the_proxy_adds_changes_nothing(prefix in ".{0,60}") {
        prop_assert_eq!(client(Some(&format!("{prefix}, 192.0.2.7")), None), "192.0.2.7");
        let header = format!("{prefix}, for=\"192.0.2.7:1\";proto=https");
        prop_assert_eq!(client(None, Some(&header)), "192.0.2.7");
    }
}
