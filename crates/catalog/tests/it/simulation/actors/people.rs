//! People: branches of their own, merges both ways, tags, rollbacks; and the housekeeping.

use std::time::Duration;

use polder_catalog::{CatalogError, CommitId};

use super::{Outcome, any_source, ingest, source_table, trouble};
use crate::simulation::world::Cx;
use crate::support::{append_change, author, change_set, table};

pub const NOTES: &str = "lab.notes";

/// Works on a branch of its own.
pub async fn developer(cx: Cx) {
    while !cx.world.is_stopping() {
        let branch = format!("dev/{}", cx.world.below(2));
        if let Err(error) = develop(&cx, &branch).await {
            trouble(&cx, &branch, &error);
        }
    }
}

async fn develop(cx: &Cx, branch: &str) -> Outcome {
    if cx.catalog.find_ref(branch).await?.is_none() {
        let head = cx.head("main").await?;
        let log = cx.catalog.log(&head, 8).await?;
        let from = cx.world.pick(&log).map_or(&head, |(id, _)| id);
        cx.catalog.create_branch(branch, from, None).await?;
        cx.world.count("branches made");
    }
    match cx.world.below(10) {
        0..=2 => {
            let head = cx.head(branch).await?;
            let name = cx.world.unique("note");
            let change = append_change(&cx.catalog, &head, NOTES, &name, std::slice::from_ref(&name)).await?;
            cx.catalog.commit(branch, change_set("Note", None, vec![change])).await?;
        }
        3 => {
            let head = cx.head(branch).await?;
            let source = any_source(cx);
            if let Some(changes) = ingest(cx, &head, source, &cx.world.unique("dev")).await? {
                cx.catalog.commit(branch, change_set("Look at the source", None, changes)).await?;
            }
        }
        4 | 5 => {
            cx.catalog.merge("main", branch, &author(), "Catch up").await?;
            cx.world.count("main merged into branches");
        }
        6 | 7 => {
            cx.catalog.merge(branch, "main", &author(), "Merge").await?;
            cx.world.count("branches merged into main");
        }
        8 => {
            cx.catalog.delete_ref(branch).await?;
            cx.world.count("branches deleted");
        }
        _ => read_around(cx, branch).await?,
    }
    Ok(())
}

/// Names commits in the ways that people do.
async fn read_around(cx: &Cx, branch: &str) -> Outcome {
    let head = cx.catalog.resolve(branch).await?;
    let log = cx.catalog.log(&head, 5).await?;
    if let Some((id, commit)) = cx.world.pick(&log) {
        cx.catalog.resolve(&id.0[..12]).await?;
        let seen = cx.catalog.resolve(&format!("{branch}@{}", commit.at())).await?;
        let there = cx.catalog.commit_object(&seen).await?;
        assert!(there.time <= commit.time, "{branch} at {} was not yet there", commit.at());
    }
    if cx.world.chance(0.2) {
        let tag = cx.world.unique("tag");
        cx.catalog.create_tag(&tag, &head).await?;
        if cx.world.chance(0.7) {
            cx.catalog.delete_ref(&tag).await?;
        }
    }
    Ok(())
}

/// Takes things back, and clears up.
pub async fn operator(cx: Cx) {
    while !cx.world.is_stopping() {
        let turn = match cx.world.below(10) {
            0 => roll_back(&cx).await,
            1..=4 => clear_up(&cx).await,
            _ => wait(&cx).await,
        };
        if let Err(error) = turn {
            trouble(&cx, "operator", &error);
        }
    }
}

/// Does little, often, so that the rest does not happen all the time.
async fn wait(cx: &Cx) -> Outcome {
    for _ in 0..20 {
        if !cx.world.is_stopping() {
            cx.catalog.find_ref("main").await?;
        }
    }
    Ok(())
}

async fn roll_back(cx: &Cx) -> Outcome {
    let head = cx.head("main").await?;
    let log = cx.catalog.log(&head, 6).await?;
    let Some((to, _)) = cx.world.pick(&log) else { return Ok(()) };
    // Never back to before there was anything: it would make for dull worlds.
    if cx.catalog.entries(to).await?.is_empty() {
        return Ok(());
    }
    if cx.world.chance(0.5) {
        return roll_back_tables(cx, to).await;
    }
    cx.catalog.rollback("main", to, None, &author()).await?;
    cx.world.count("rollbacks of all");
    Ok(())
}

async fn roll_back_tables(cx: &Cx, to: &CommitId) -> Outcome {
    let tables = [table(&source_table(any_source(cx)))];
    match cx.catalog.rollback("main", to, Some(&tables), &author()).await {
        Ok(_) => cx.world.count("rollbacks of tables"),
        Err(CatalogError::UnknownTable { .. }) => {}
        Err(other) => return Err(other),
    }
    Ok(())
}

async fn clear_up(cx: &Cx) -> Outcome {
    let retention = Duration::from_secs(60 * cx.world.below(120));
    let grace = Duration::from_secs(60 * cx.world.below(30));
    let chunk = 1 + cx.world.below(40) as usize;
    let expired = cx.catalog.expire_in_chunks(retention, grace, chunk).await?;
    cx.world.count("collections");
    if expired.files > 0 {
        cx.world.count("collections that deleted files");
    }
    if expired.commits > 0 {
        cx.world.count("collections that cut history");
    }
    if !expired.refs.is_empty() {
        cx.world.count("collections that removed branches");
    }
    Ok(())
}
