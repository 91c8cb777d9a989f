//! Lists as PostgreSQL's arrays of one dimension.

use arrow::array::ListArray;
use bytes::{BufMut, BytesMut};
use pgwire::api::Type;

use super::column::{Column, put_value};

/// `{1,NULL,"a b"}`
pub(super) fn text(list: &ListArray, items: &Column, row: usize, out: &mut BytesMut) {
    out.put_u8(b'{');
    let range = range(list, row);
    for at in range.clone() {
        if at > range.start {
            out.put_u8(b',');
        }
        if items.is_null(at) {
            out.put_slice(b"NULL");
            continue;
        }
        let start = out.len();
        items.write_text(at, out);
        quote(out, start);
    }
    out.put_u8(b'}');
}

/// Quotes what was written from `start` on, where it would be read as something else without.
fn quote(out: &mut BytesMut, start: usize) {
    let item = &out[start..];
    let plain = |byte: &u8| !matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') && !byte.is_ascii_whitespace();
    if !item.is_empty() && item.iter().all(plain) && !item.eq_ignore_ascii_case(b"null") {
        return;
    }
    let item = out.split_off(start);
    out.put_u8(b'"');
    for byte in item {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}

pub(super) fn binary(list: &ListArray, of: &Type, items: &Column, row: usize, out: &mut BytesMut) {
    let range = range(list, row);
    let dimensions = i32::from(!range.is_empty());
    out.put_i32(dimensions);
    out.put_i32(i32::from(range.clone().any(|at| items.is_null(at))));
    out.put_u32(of.oid());
    if dimensions == 1 {
        out.put_i32(i32::try_from(range.len()).unwrap_or(i32::MAX));
        // Arrays are counted from 1.
        out.put_i32(1);
    }
    range.for_each(|at| put_value(items, at, true, out));
}

fn range(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offset = |at: usize| usize::try_from(list.value_offsets()[at]).unwrap_or_default();
    offset(row)..offset(row + 1)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn items_are_quoted_where_they_must_be() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a"), Some("a b"), Some(""), Some("null"), Some("q\"\\"), None]);
        let array: ArrayRef = Arc::new(lists.finish());
        let mut out = BytesMut::new();
        Column::new(&array).unwrap().write_text(0, &mut out);
        assert_eq!(&out[..], br#"{a,"a b","","null","q\"\\",NULL}"#);
    }
}
