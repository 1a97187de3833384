#![allow(clippy::unwrap_used, reason = "what fails a helper fails its test")]
//! The client against a control plane that speaks the real gRPC and does what each test tells it.

mod control_plane;

use std::sync::Arc;
use std::time::{Duration, Instant};

use control_plane::{
    ControlPlane, app, bad_app, delta, member, registration, removed, revision, settings, snapshot, within,
};
use realtime_discovery::{Command, Counted, Discovery, Figures, Report, Snapshot};
use realtime_proto::generated::discovery as wire;
use realtime_proto::{AppId, Month, UsageCounts};
use tonic::Status;
use wire::stream_request::Kind;

/// Waits until the configuration in force has this revision.
async fn at_revision(discovery: &mut Discovery, revision: u64) -> Arc<Snapshot> {
    let reached = |s: &Option<Arc<Snapshot>>| s.as_ref().is_some_and(|s| s.revision == revision);
    let snapshot = within(discovery.snapshots.wait_for(reached)).await.unwrap().clone();
    snapshot.unwrap()
}

fn app_names(snapshot: &Snapshot) -> Vec<&str> {
    let mut names: Vec<_> = snapshot.apps.values().map(|app| app.config.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_first_hello_holds_nothing_and_the_prefix_is_published() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let (hello, stream) = server.accept().await;
    assert_eq!((hello.role(), hello.id.as_str()), (wire::Role::Node, "n1"));
    assert_eq!((hello.listen.as_str(), hello.peer.as_str()), ("127.0.0.1:1", "127.0.0.1:2"));
    assert_eq!((&hello.held, hello.connection_id_prefix.as_str()), (&None, ""));
    assert_eq!(hello.state(), wire::NodeState::Ready);
    assert_eq!(hello.incarnation.len(), 32);
    stream.register("0a1b2c3d").await;
    let prefix = within(discovery.prefix.wait_for(Option::is_some)).await.unwrap().unwrap();
    assert_eq!(prefix.to_string(), "0a1b2c3d");
    assert!(discovery.snapshots.borrow().is_none());
}

#[tokio::test]
async fn chunks_become_one_snapshot_that_is_published_before_it_is_acknowledged() {
    let mut server = ControlPlane::start().await;
    let discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(snapshot(7, 1, false, [app("a", 1, "one"), settings(9)])).await;
    stream.send(snapshot(7, 1, false, [app("b", 1, "two")])).await;
    assert!(discovery.snapshots.borrow().is_none(), "half a snapshot is in force");
    stream.send(snapshot(7, 1, true, [member("n1")])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    let snapshot = discovery.snapshots.borrow().clone().unwrap();
    assert_eq!((snapshot.revision, snapshot.store_id.as_str()), (7, "store"));
    assert_eq!(app_names(&snapshot), ["one", "two"]);
    assert_eq!(snapshot.settings.telemetry_retention_days, 9);
    assert_eq!(snapshot.members["n1"].connection_id_prefix, "0a1b2c3d");
}

#[tokio::test]
async fn chunks_of_a_snapshot_that_was_given_up_are_forgotten() {
    let mut server = ControlPlane::start().await;
    let discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(snapshot(7, 1, false, [app("a", 1, "one")])).await;
    stream.send(snapshot(8, 2, true, [app("b", 1, "two")])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 2 }));
    assert_eq!(app_names(discovery.snapshots.borrow().as_ref().unwrap()), ["two"]);
}

#[tokio::test]
async fn a_delta_changes_what_it_names_and_keeps_the_rest_as_it_is() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let mut stream = server.registered().await;
    let resources =
        [app("a", 1, "one"), app("b", 1, "two"), app("c", 1, "three"), member("n1"), member("n2")];
    stream.send(snapshot(7, 1, true, resources)).await;
    let before = at_revision(&mut discovery, 7).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    stream.send(delta(8, 2, [app("b", 2, "zwei")], removed(["c"], ["n2"]))).await;
    let after = at_revision(&mut discovery, 8).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 2 }));
    assert_eq!(app_names(&after), ["one", "zwei"]);
    assert!(Arc::ptr_eq(&before.apps["a"], &after.apps["a"]), "an app that was not named is another value");
    assert!(Arc::ptr_eq(&before.settings, &after.settings));
    assert!(after.members.contains_key("n1") && !after.members.contains_key("n2"));
    assert_eq!(app_names(&before), ["one", "three", "two"], "a published snapshot has changed");
}

#[tokio::test]
async fn a_refused_app_is_named_and_its_last_good_version_stays_in_force() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(snapshot(7, 1, true, [app("a", 1, "one"), app("b", 1, "two")])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    stream.send(delta(8, 2, [bad_app("a", 2), app("b", 2, "zwei"), bad_app("new", 1)], [])).await;
    let snapshot = at_revision(&mut discovery, 8).await;
    let Kind::Nack(nack) = stream.next().await else { panic!("not refused") };
    assert_eq!(nack.nonce, 2);
    let named: Vec<_> = nack.rejections.iter().map(|r| r.app_id.as_str()).collect();
    assert_eq!(named, ["a", "new"]);
    assert!(nack.rejections[0].reason.contains("authKey"), "{}", nack.rejections[0].reason);
    assert_eq!(app_names(&snapshot), ["one", "zwei"]);

    // What is still wrong is told with every answer, until it is good or gone.
    stream.send(delta(9, 3, [app("c", 1, "three")], removed(["new"], []))).await;
    let Kind::Nack(nack) = stream.next().await else { panic!("a refused app was forgotten") };
    assert_eq!(nack.rejections.iter().map(|r| r.app_id.as_str()).collect::<Vec<_>>(), ["a"]);
    stream.send(delta(10, 4, [app("a", 3, "eins")], [])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 4 }));
    assert_eq!(app_names(discovery.snapshots.borrow().as_ref().unwrap()), ["eins", "three", "zwei"]);
}

#[tokio::test]
async fn refused_settings_leave_the_last_good_ones_in_force() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(snapshot(7, 1, true, [settings(9)])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    let broken = wire::Settings { version: 2, document_json: "{\"telemetryRetentionDays\":\"many\"}".into() };
    let broken = wire::Resource { kind: Some(wire::resource::Kind::Settings(broken)) };
    stream.send(delta(8, 2, [broken], [])).await;
    let Kind::Nack(nack) = stream.next().await else { panic!("not refused") };
    assert_eq!(nack.rejections[0].app_id, "");
    assert!(nack.rejections[0].reason.contains("telemetryRetentionDays"), "{}", nack.rejections[0].reason);
    assert_eq!(at_revision(&mut discovery, 8).await.settings.telemetry_retention_days, 9);
}

#[tokio::test]
async fn after_a_loss_the_client_says_what_it_holds_and_readers_notice_nothing() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let (first, stream) = server.accept().await;
    let mut stream = stream.register("0a1b2c3d").await;
    let resources = [app("a", 1, "one"), settings(9), member("n1")];
    stream.send(snapshot(7, 1, true, resources.clone())).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    let before = discovery.snapshots.borrow_and_update().clone().unwrap();
    stream.fail(Status::unavailable("going away")).await;

    let (second, stream) = server.accept().await;
    assert_eq!(second.incarnation, first.incarnation);
    assert_eq!(second.held, Some(revision(7)));
    assert_eq!(second.connection_id_prefix, "0a1b2c3d");
    assert!(Arc::ptr_eq(&before, discovery.snapshots.borrow().as_ref().unwrap()));
    let mut stream = stream.register("0a1b2c3d").await;
    // A replica that does not know the revision's history sends everything.
    stream.send(snapshot(7, 1, true, resources)).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    assert!(!discovery.snapshots.has_changed().unwrap(), "an equal configuration was published again");
    stream.send(delta(8, 2, [app("a", 2, "eins")], [])).await;
    assert_eq!(app_names(&*at_revision(&mut discovery, 8).await), ["eins"]);
}

#[tokio::test]
async fn a_client_with_something_refused_asks_for_everything_again() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(snapshot(7, 1, true, [bad_app("a", 1), app("b", 1, "two")])).await;
    assert!(matches!(stream.next().await, Kind::Nack(_)));
    stream.fail(Status::unavailable("going away")).await;
    let (hello, stream) = server.accept().await;
    assert_eq!(hello.held, None);
    let mut stream = stream.register("0a1b2c3d").await;
    stream.send(snapshot(7, 1, true, [bad_app("a", 1), app("b", 1, "two")])).await;
    assert!(matches!(stream.next().await, Kind::Nack(_)), "a new replica was not told");
    assert_eq!(app_names(&*at_revision(&mut discovery, 7).await), ["two"]);
}

#[tokio::test]
async fn an_older_snapshot_of_the_same_store_is_not_taken() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(snapshot(7, 1, true, [app("a", 1, "one")])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    stream.send(snapshot(6, 2, true, [])).await;
    stream.ended().await;
    let (hello, stream) = server.accept().await;
    assert_eq!(hello.held, Some(revision(7)));
    assert_eq!(at_revision(&mut discovery, 7).await.apps.len(), 1);
    // Another store's numbers are not comparable: it replaces everything.
    let mut stream = stream.register("0a1b2c3d").await;
    let other = wire::Revision { store_id: "other".into(), number: 1 };
    let chunk = wire::Snapshot { revision: Some(other), nonce: 1, last: true, resources: Vec::new() };
    stream.send(wire::stream_response::Kind::Snapshot(chunk)).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    assert!(at_revision(&mut discovery, 1).await.apps.is_empty());
}

#[tokio::test]
async fn a_stream_that_breaks_the_contract_is_left_and_opened_again() {
    let mut server = ControlPlane::start().await;
    let _discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(delta(8, 1, [], [])).await;
    stream.ended().await;
    let (_, stream) = server.accept().await;
    let mut stream = stream.register("not-hex!").await;
    stream.ended().await;
    let (hello, _) = server.accept().await;
    assert_eq!(hello.held, None);
}

#[tokio::test]
async fn a_newer_incarnation_under_the_same_id_ends_the_client() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let stream = server.registered().await;
    assert!(!*discovery.superseded.borrow());
    stream.fail(Status::already_exists("a newer incarnation has registered")).await;
    assert!(*within(discovery.superseded.wait_for(|superseded| *superseded)).await.unwrap());
    // The task is gone: nothing will ever come again.
    within(discovery.commands.recv()).await.ok_or(()).unwrap_err();
}

#[tokio::test]
async fn commands_reach_their_reader_in_order() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let stream = server.registered().await;
    stream.send(control_plane::drain()).await;
    assert_eq!(within(discovery.commands.recv()).await, Some(Command::Drain));
    stream.send(control_plane::undrain()).await;
    assert_eq!(within(discovery.commands.recv()).await, Some(Command::Undrain));
}

#[tokio::test]
async fn reports_are_sent_when_they_change_and_at_most_once_a_second() {
    let mut server = ControlPlane::start().await;
    let discovery = server.client();
    let mut stream = server.registered().await;
    let report = |connections| wire::Report { state: wire::NodeState::Ready.into(), connections };
    discovery.report.send_replace(Report { draining: false, connections: 1 });
    assert_eq!(stream.next().await, Kind::Report(report(1)));
    let first = Instant::now();
    discovery.report.send_replace(Report { draining: false, connections: 2 });
    discovery.report.send_replace(Report { draining: false, connections: 3 });
    assert_eq!(stream.next().await, Kind::Report(report(3)), "only the newest counts");
    assert!(first.elapsed() > Duration::from_millis(900), "{:?}", first.elapsed());
    discovery.report.send_replace(Report { draining: true, connections: 3 });
    let draining = wire::Report { state: wire::NodeState::Draining.into(), connections: 3 };
    assert_eq!(stream.next().await, Kind::Report(draining));
    stream.fail(Status::unavailable("going away")).await;
    let (hello, _) = server.accept().await;
    assert_eq!(hello.state(), wire::NodeState::Draining);
}

fn usage(api_bytes: u64) -> wire::Usage {
    wire::Usage { app_id: "a".into(), month: 24_322, api_bytes, inbound_messages: 1 }
}

fn counted(number: u64, api_bytes: u64) -> Counted {
    let key = (Month::from_index(24_322).unwrap(), AppId::parse("a").unwrap());
    let counts = UsageCounts { api_bytes, inbound_messages: 1 };
    Counted { number, table: Arc::new([(key, counts)].into()) }
}

#[tokio::test]
async fn who_leaves_says_so_at_once_and_does_not_come_back_on_another_stream() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let mut stream = server.registered().await;
    stream.send(snapshot(7, 1, true, [member("n1")])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    discovery.leave.send_replace(true);
    assert_eq!(stream.next().await, Kind::Leave(wire::Leave {}));
    stream.send(delta(8, 2, [], removed([], ["n1"]))).await;
    assert!(at_revision(&mut discovery, 8).await.members.is_empty());
    stream.fail(Status::unavailable("the replica stops")).await;
    // The task has ended, and with it its side of every channel.
    let ended = async { while discovery.figures.changed().await.is_ok() {} };
    within(ended).await;
}

#[tokio::test]
async fn figures_tell_how_the_stream_fares() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let stream = server.registered().await;
    stream.send(snapshot(7, 1, true, [app("a", 1, "one")])).await;
    stream.send(delta(8, 2, [bad_app("a", 2)], [])).await;
    let due = Figures { connected: true, streams: 1, snapshots: 1, deltas: 1, refused: 1 };
    within(discovery.figures.wait_for(|figures| *figures == due)).await.unwrap();
    stream.fail(Status::unavailable("the replica stops")).await;
    within(discovery.figures.wait_for(|figures| !figures.connected)).await.unwrap();
    let _again = server.registered().await;
    within(discovery.figures.wait_for(|figures| figures.connected && figures.streams == 2)).await.unwrap();
}

#[tokio::test]
async fn usage_is_reported_when_it_changes_and_whole_on_every_new_stream() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let mut stream = server.registered().await;
    let report =
        |api_bytes, sequence| Kind::Usage(wire::UsageReport { counted: vec![usage(api_bytes)], sequence });
    discovery.usage.counted.send_replace(counted(1, 100));
    assert_eq!(stream.next().await, report(100, 1));
    let first = Instant::now();
    discovery.usage.counted.send_replace(counted(2, 150));
    discovery.usage.counted.send_replace(counted(3, 200));
    assert_eq!(stream.next().await, report(200, 3), "only the newest counts");
    assert!(first.elapsed() > Duration::from_millis(900), "{:?}", first.elapsed());
    let answer = wire::UsageElsewhere { counted: Vec::new(), received: 3 };
    stream.send(wire::stream_response::Kind::Usage(answer)).await;
    within(discovery.usage.received.wait_for(|received| *received == 3)).await.unwrap();

    stream.fail(Status::unavailable("going away")).await;
    let mut stream = server.registered().await;
    assert_eq!(stream.next().await, report(200, 3));
}

#[tokio::test]
async fn what_was_counted_elsewhere_is_known_before_the_first_snapshot() {
    let mut server = ControlPlane::start().await;
    let mut discovery = server.client();
    let stream = server.registered().await;
    let elsewhere = wire::UsageElsewhere { counted: vec![usage(7)], received: 0 };
    stream.send(wire::stream_response::Kind::Usage(elsewhere)).await;
    stream.send(snapshot(7, 1, true, [app("a", 1, "one")])).await;
    at_revision(&mut discovery, 7).await;
    assert_eq!(*discovery.usage.elsewhere.borrow(), *counted(1, 7).table);
}

#[tokio::test]
async fn dropping_the_client_ends_its_stream() {
    let mut server = ControlPlane::start().await;
    let discovery = server.client();
    let mut stream = server.registered().await;
    drop(discovery);
    stream.ended().await;
}

#[tokio::test]
async fn a_gateway_needs_no_prefix() {
    let mut server = ControlPlane::start().await;
    let registration = realtime_discovery::Registration { role: wire::Role::Gateway, ..registration() };
    let discovery =
        realtime_discovery::start(server.channel(), registration, realtime_auth::JwksCache::offline());
    let (hello, stream) = server.accept().await;
    assert_eq!(hello.role(), wire::Role::Gateway);
    let mut stream = stream.register("").await;
    stream.send(snapshot(1, 1, true, [])).await;
    assert_eq!(stream.next().await, Kind::Ack(wire::Ack { nonce: 1 }));
    assert_eq!(*discovery.prefix.borrow(), None);
}
