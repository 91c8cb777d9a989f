//! Steps and what each of them waits for.

use std::collections::BTreeMap;

use crate::StepKey;

/// A directed graph of named nodes. Edges can only be added so that it stays free of cycles: every order that the
/// executor takes exists.
#[derive(Debug, Clone)]
pub struct Graph<T> {
    nodes: Vec<Node<T>>,
    index: BTreeMap<StepKey, usize>,
}

#[derive(Debug, Clone)]
struct Node<T> {
    key: StepKey,
    value: T,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Why a node or an edge was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("{0} is declared twice")]
    Duplicate(StepKey),
    #[error("{0} is not a step of this run")]
    Unknown(StepKey),
    /// The way around, its first step again at the end.
    #[error("steps wait for each other: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "))]
    Cycle(Vec<StepKey>),
}

impl<T> Default for Graph<T> {
    fn default() -> Self {
        Self { nodes: Vec::new(), index: BTreeMap::new() }
    }
}

impl<T> Graph<T> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node and gives its index; indices count from 0 in the order of addition.
    pub fn add(&mut self, key: StepKey, value: T) -> Result<usize, GraphError> {
        if self.index.contains_key(&key) {
            return Err(GraphError::Duplicate(key));
        }
        let index = self.nodes.len();
        self.index.insert(key.clone(), index);
        self.nodes.push(Node { key, value, before: Vec::new(), after: Vec::new() });
        Ok(index)
    }

    /// Makes `later` wait for `earlier`. An edge that exists is no error.
    pub fn edge(&mut self, earlier: &StepKey, later: &StepKey) -> Result<(), GraphError> {
        let from = self.find(earlier)?;
        let to = self.find(later)?;
        if self.nodes[from].after.contains(&to) {
            return Ok(());
        }
        if let Some(path) = self.path(to, from) {
            let mut way: Vec<StepKey> = path.into_iter().map(|i| self.nodes[i].key.clone()).collect();
            way.push(later.clone());
            return Err(GraphError::Cycle(way));
        }
        self.nodes[from].after.push(to);
        self.nodes[to].before.push(from);
        Ok(())
    }

    fn find(&self, key: &StepKey) -> Result<usize, GraphError> {
        self.index_of(key).ok_or_else(|| GraphError::Unknown(key.clone()))
    }

    pub fn index_of(&self, key: &StepKey) -> Option<usize> {
        self.index.get(key).copied()
    }

    pub fn contains(&self, key: &StepKey) -> bool {
        self.index.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn key(&self, index: usize) -> &StepKey {
        &self.nodes[index].key
    }

    pub fn value(&self, index: usize) -> &T {
        &self.nodes[index].value
    }

    /// The nodes that `index` waits for.
    pub fn before(&self, index: usize) -> &[usize] {
        &self.nodes[index].before
    }

    /// The nodes that wait for `index`.
    pub fn after(&self, index: usize) -> &[usize] {
        &self.nodes[index].after
    }

    /// Keys and values in the order of addition.
    pub fn iter(&self) -> impl Iterator<Item = (&StepKey, &T)> {
        self.nodes.iter().map(|n| (&n.key, &n.value))
    }

    /// Every node after those that it waits for; among equals the order of addition.
    pub fn topological(&self) -> Vec<usize> {
        let mut waiting: Vec<usize> = self.nodes.iter().map(|n| n.before.len()).collect();
        let mut ready: std::collections::BTreeSet<usize> = (0..self.len()).filter(|i| waiting[*i] == 0).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(index) = ready.pop_first() {
            order.push(index);
            for next in &self.nodes[index].after {
                waiting[*next] -= 1;
                if waiting[*next] == 0 {
                    ready.insert(*next);
                }
            }
        }
        order
    }

    /// For each node the number of nodes on the longest way below it: what to start first.
    pub fn heights(&self) -> Vec<usize> {
        let mut heights = vec![0; self.len()];
        for index in self.topological().into_iter().rev() {
            heights[index] = self.nodes[index].after.iter().map(|n| heights[*n] + 1).max().unwrap_or(0);
        }
        heights
    }

    /// Whether `to` waits, directly or through others, for `from` (or is it).
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.path(from, to).is_some()
    }

    /// A way from one node to another, both ends included.
    fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut came_from: BTreeMap<usize, usize> = BTreeMap::new();
        let mut stack = vec![from];
        while let Some(at) = stack.pop() {
            if at == to {
                let mut way = vec![to];
                while let Some(previous) = way.last().filter(|i| **i != from).and_then(|i| came_from.get(i)) {
                    way.push(*previous);
                }
                way.reverse();
                return Some(way);
            }
            for next in &self.nodes[at].after {
                if *next != from && !came_from.contains_key(next) {
                    came_from.insert(*next, at);
                    stack.push(*next);
                }
            }
        }
        None
    }

    /// The same graph with other values.
    pub fn map<U, E>(self, mut f: impl FnMut(&StepKey, T) -> Result<U, E>) -> Result<Graph<U>, E> {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in self.nodes {
            let value = f(&node.key, node.value)?;
            nodes.push(Node { key: node.key, value, before: node.before, after: node.after });
        }
        Ok(Graph { nodes, index: self.index })
    }
}

#[cfg(test)]
mod tests {
    use super::{Graph, GraphError};
    use crate::{StepKey, StepKind};

    fn key(name: &str) -> StepKey {
        StepKey::new(StepKind::Model, name)
    }

    fn graph(edges: &[(&str, &str)]) -> Result<Graph<()>, GraphError> {
        let mut graph = Graph::new();
        for (a, b) in edges {
            for name in [a, b] {
                if !graph.contains(&key(name)) {
                    graph.add(key(name), ())?;
                }
            }
            graph.edge(&key(a), &key(b))?;
        }
        Ok(graph)
    }

    #[test]
    fn a_cycle_is_named_step_by_step() {
        let err = graph(&[("a", "b"), ("b", "c"), ("x", "c"), ("c", "a")]).unwrap_err();
        assert_eq!(err.to_string(), "steps wait for each other: model a → model b → model c → model a");
        assert!(graph(&[("a", "a")]).is_err());
    }

    #[test]
    fn order_and_heights_follow_the_edges() {
        let graph = graph(&[("d", "b"), ("b", "a"), ("d", "c"), ("c", "a"), ("d", "b")]).unwrap();
        let order: Vec<String> = graph.topological().into_iter().map(|i| graph.key(i).resource.clone()).collect();
        assert_eq!(order, ["d", "b", "c", "a"]);
        let height = |name: &str| graph.heights()[graph.index_of(&key(name)).unwrap()];
        assert_eq!((height("d"), height("b"), height("a")), (2, 1, 0));
        assert!(graph.reaches(graph.index_of(&key("d")).unwrap(), graph.index_of(&key("a")).unwrap()));
        assert!(!graph.reaches(graph.index_of(&key("b")).unwrap(), graph.index_of(&key("c")).unwrap()));
    }
}
