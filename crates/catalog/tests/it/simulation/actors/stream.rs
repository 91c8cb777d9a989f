//! A stream: commits rows with their cursor, and events without one, straight to main.

use super::{Outcome, any_source, ingest, trouble};
use crate::simulation::world::Cx;
use crate::support::{append_change, change_set};

pub const EVENTS: &str = "bronze.events";

pub async fn program(cx: Cx) {
    while !cx.world.is_stopping() {
        let turn = if cx.world.chance(0.6) { read_source(&cx).await } else { append_events(&cx).await };
        if let Err(error) = turn {
            trouble(&cx, "stream", &error);
        }
    }
}

async fn read_source(cx: &Cx) -> Outcome {
    let source = any_source(cx);
    let head = cx.head("main").await?;
    let Some(changes) = ingest(cx, &head, source, &cx.world.unique("stream")).await? else { return Ok(()) };
    let commit = cx.catalog.commit("main", change_set("Stream", None, changes)).await?;
    cx.world.count("stream commits");
    cx.world.trace(|| format!("p{} stream committed {}", cx.process, commit.short()));
    Ok(())
}

/// Rows that nobody can tell from others by a cursor: whether they landed twice only shows in the rows.
async fn append_events(cx: &Cx) -> Outcome {
    let head = cx.head("main").await?;
    let name = cx.world.unique("event");
    let rows = vec![format!("{name}/a"), format!("{name}/b")];
    let change = append_change(&cx.catalog, &head, EVENTS, &name, &rows).await?;
    cx.catalog.commit("main", change_set("Events", None, vec![change])).await?;
    cx.world.count("event commits");
    Ok(())
}
