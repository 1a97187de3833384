//! What an operator sees of a cluster.

use realtime_client::{AdminClient, Channel};
use realtime_proto::generated::admin::Node;
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Request, Server};

/// The operator's way to a replica of the control plane; `None` where it does not answer.
pub async fn admin(replica: &Server) -> Option<AdminClient> {
    let server = format!("http://{}", replica.listen());
    let channel = Channel::connect(&server, Some(OPERATOR_TOKEN)).await.ok()?;
    Some(AdminClient::new(channel))
}

/// The members as a replica of the control plane lists them; `None` where it does not answer.
pub async fn nodes(replica: &Server) -> Option<Vec<Node>> {
    admin(replica).await?.nodes().await.ok()
}

/// Their ids, sorted.
pub async fn node_ids(replica: &Server) -> Option<Vec<String>> {
    let mut ids: Vec<String> = nodes(replica).await?.into_iter().map(|node| node.id).collect();
    ids.sort();
    Some(ids)
}

/// The sum of a metric's series over its labels, at an admin listener; `None` where nobody answers.
///
/// # Panics
/// When the process does not have the metric.
pub async fn sum(admin: &str, metric: &str) -> Option<u64> {
    let answer = Request::new(admin, "GET", "/metrics").exchange().await.ok()?;
    let text = answer.text();
    let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
    let values: Vec<u64> = series.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    assert!(!values.is_empty(), "{metric} is not there:\n{text}");
    Some(values.iter().sum())
}

/// What a node has lost on the way to others.
///
/// # Panics
/// When it does not answer.
pub async fn lost(node: &Server) -> u64 {
    sum(node.admin_listen(), "realtime_mesh_lost_total").await.expect("a node that answers")
}
