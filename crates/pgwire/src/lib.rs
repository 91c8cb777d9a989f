//! PostgreSQL's wire protocol.
