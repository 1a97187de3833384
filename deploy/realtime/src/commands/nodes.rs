//! `realtime nodes list`, `drain` and `undrain`.

use realtime_proto::generated::admin::Node;
use serde_json::{Value, json};

use super::{operator, print};
use crate::cli::{NodeArgs, ServerArgs};
use crate::config::Layers;
use crate::failure::Failure;

/// `nodes list`
pub(super) async fn list(args: &ServerArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(args, layers)?;
    let nodes = operator.ask(async |admin| Ok(admin.nodes().await?)).await?;
    if operator.json {
        return print::document(&nodes.iter().map(document).collect());
    }
    let rows: Vec<[String; 6]> = nodes
        .iter()
        .map(|n| {
            let peer = if n.peer.is_empty() { "-" } else { &n.peer };
            let (revision, connections) = (n.revision.to_string(), n.connections.to_string());
            [n.id.clone(), n.listen.clone(), peer.to_owned(), n.state.clone(), revision, connections]
        })
        .collect();
    print::table(["ID", "LISTEN", "PEER", "STATE", "REVISION", "CONNECTIONS"], &rows)?;
    for node in &nodes {
        for rejection in &node.rejections {
            let what = if rejection.app_id.is_empty() { "the settings" } else { &rejection.app_id };
            print::line(&format!("{} rejects {what}: {}", node.id, rejection.reason))?;
        }
    }
    Ok(())
}

fn document(node: &Node) -> Value {
    let mut document = json!({
        "id": node.id, "listen": node.listen, "peer": node.peer, "state": node.state,
        "revision": node.revision, "connections": node.connections,
    });
    if !node.rejections.is_empty() {
        let rejection =
            |r: &realtime_proto::generated::admin::Rejection| json!({"appId": r.app_id, "reason": r.reason});
        document["rejections"] = node.rejections.iter().map(rejection).collect();
    }
    document
}

/// `drain`
pub(super) async fn drain(args: &NodeArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(&args.server, layers)?;
    let done = operator.ask(async |admin| Ok(admin.drain(&args.node).await?)).await;
    done.map_err(|failure| about(&args.node, failure))?;
    said(&operator, &args.node, "draining")
}

/// `undrain`
pub(super) async fn undrain(args: &NodeArgs, layers: &Layers) -> Result<(), Failure> {
    let operator = operator::resolve(&args.server, layers)?;
    let done = operator.ask(async |admin| Ok(admin.undrain(&args.node).await?)).await;
    done.map_err(|failure| about(&args.node, failure))?;
    said(&operator, &args.node, "ready")
}

fn said(operator: &operator::Operator, node: &str, state: &str) -> Result<(), Failure> {
    print::either(operator.json, || json!({ "id": node, "state": state }), &format!("{node}: {state}"))
}

/// Names the node that is not there.
fn about(node: &str, failure: Failure) -> Failure {
    failure.reworded(|what| if what == "no such node" { format!("{what}: {node}") } else { what.to_owned() })
}
