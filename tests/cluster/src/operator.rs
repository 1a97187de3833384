//! What an operator sees of a cluster.

use realtime_client::{AdminClient, Channel};
use realtime_proto::generated::admin::Node;
use realtime_testkit::server::OPERATOR_TOKEN;
use realtime_testkit::{Request, Server};

/// The members as a replica of the control plane lists them; `None` where it does not answer.
pub async fn nodes(replica: &Server) -> Option<Vec<Node>> {
    let server = format!("http://{}", replica.listen());
    let channel = Channel::connect(&server, Some(OPERATOR_TOKEN)).await.ok()?;
    AdminClient::new(channel).nodes().await.ok()
}

/// Their ids, sorted.
pub async fn node_ids(replica: &Server) -> Option<Vec<String>> {
    let mut ids: Vec<String> = nodes(replica).await?.into_iter().map(|node| node.id).collect();
    ids.sort();
    Some(ids)
}

/// The sum of a metric's series over its labels; 0 where the process does not answer.
pub async fn sum(process: &Server, metric: &str) -> u64 {
    let answer = Request::new(process.admin_listen(), "GET", "/metrics").exchange().await;
    let text = answer.map(|answer| answer.text()).unwrap_or_default();
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| value.parse::<u64>().ok()).flatten()
    });
    series.sum()
}

/// What a node has lost on the way to others.
pub async fn lost(node: &Server) -> u64 {
    sum(node, "realtime_mesh_lost_total").await
}
