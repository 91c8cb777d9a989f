//! The tables of the shop and their columns.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::GenerateError;

/// A table of the shop, in the order in which they refer to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    Customers,
    Products,
    Orders,
    OrderLines,
    Payments,
    Events,
}

impl Table {
    pub const ALL: [Self; 6] =
        [Self::Customers, Self::Products, Self::Orders, Self::OrderLines, Self::Payments, Self::Events];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Products => "products",
            Self::Orders => "orders",
            Self::OrderLines => "order_lines",
            Self::Payments => "payments",
            Self::Events => "events",
        }
    }

    /// The column that identifies a row.
    pub fn key(self) -> &'static str {
        match self {
            Self::Customers => "customer_id",
            Self::Products => "product_id",
            Self::Orders => "order_id",
            Self::OrderLines => "order_line_id",
            Self::Payments => "payment_id",
            Self::Events => "event_id",
        }
    }

    /// The column that tells when a row came or changed, where the table has one.
    pub fn changed_at(self) -> Option<&'static str> {
        match self {
            Self::Customers => Some("signed_up_at"),
            Self::Orders => Some("updated_at"),
            Self::OrderLines => Some("created_at"),
            Self::Payments => Some("paid_at"),
            Self::Events => Some("occurred_at"),
            Self::Products => None,
        }
    }

    /// Columns in the order in which they are written.
    pub fn schema(self) -> SchemaRef {
        let fields = match self {
            Self::Customers => vec![
                required("customer_id", DataType::Int64),
                required("name", DataType::Utf8),
                required("email", DataType::Utf8),
                required("country", DataType::Utf8),
                required("city", DataType::Utf8),
                required("postal_code", DataType::Utf8),
                required("newsletter", DataType::Boolean),
                required("signed_up_at", timestamp()),
            ],
            Self::Products => vec![
                required("product_id", DataType::Int64),
                required("sku", DataType::Utf8),
                required("name", DataType::Utf8),
                required("category", DataType::Utf8),
                required("price", money()),
                required("weight_grams", DataType::Int32),
                required("launched_on", DataType::Date32),
                required("discontinued", DataType::Boolean),
            ],
            Self::Orders => vec![
                required("order_id", DataType::Int64),
                required("customer_id", DataType::Int64),
                required("status", DataType::Utf8),
                required("channel", DataType::Utf8),
                required("currency", DataType::Utf8),
                required("exchange_rate", DataType::Decimal128(10, 4)),
                required("shipping", money()),
                required("amount", money()),
                required("created_at", timestamp()),
                required("updated_at", timestamp()),
            ],
            Self::OrderLines => vec![
                required("order_line_id", DataType::Int64),
                required("order_id", DataType::Int64),
                required("product_id", DataType::Int64),
                required("quantity", DataType::Int32),
                required("unit_price", money()),
                required("discount_percent", DataType::Int32),
                required("amount", money()),
                required("created_at", timestamp()),
            ],
            Self::Payments => vec![
                required("payment_id", DataType::Int64),
                required("order_id", DataType::Int64),
                required("kind", DataType::Utf8),
                required("method", DataType::Utf8),
                required("status", DataType::Utf8),
                required("amount", money()),
                required("currency", DataType::Utf8),
                required("paid_at", timestamp()),
            ],
            Self::Events => vec![
                required("event_id", DataType::Utf8),
                required("session_id", DataType::Utf8),
                required("occurred_at", timestamp()),
                required("kind", DataType::Utf8),
                required("page", DataType::Utf8),
                optional("product_id", DataType::Int64),
                optional("customer_id", DataType::Int64),
                optional("order_id", DataType::Int64),
                required("device", DataType::Utf8),
                optional("referrer", DataType::Utf8),
            ],
        };
        Arc::new(Schema::new(fields))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Table {
    type Err = GenerateError;

    fn from_str(s: &str) -> Result<Self, GenerateError> {
        Self::ALL.into_iter().find(|t| t.as_str() == s).ok_or_else(|| {
            let hint = polder_base::nearest(s, Self::ALL.map(Self::as_str));
            let hint = hint.map_or_else(|| Self::ALL.map(Self::as_str).join(", "), |n| format!("did you mean `{n}`?"));
            GenerateError::Options(format!("the shop has no table `{s}` ({hint})"))
        })
    }
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn money() -> DataType {
    DataType::Decimal128(12, 2)
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
