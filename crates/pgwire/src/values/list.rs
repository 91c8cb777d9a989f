//! Arrays of one dimension that clients send, for `= any($1)`.

use arrow::datatypes::DataType;
use bytes::Buf;
use polder_app::ScalarValue;

use super::parameter::value;

/// Dimensions, whether there are NULLs, type of the items; then, of each dimension, its length and its first index.
const HEADER: usize = 12;
const DIMENSION: usize = 8;

/// `{1,NULL,"a b"}`. `None`: it is not written so, or one of the items is none of the type.
pub(super) fn of_text(text: &str, item: &DataType) -> Option<ScalarValue> {
    let items = items(text.trim())?;
    let items = items.iter().map(|text| value(text.as_deref().map(str::as_bytes), item, false, false).ok());
    of_items(items.collect::<Option<_>>()?, item)
}

/// The texts of an array's items; `None` for NULL.
fn items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut rest = inner.trim_start();
    if rest.is_empty() {
        return Some(items);
    }
    loop {
        let (item, after) = item(rest)?;
        items.push(item);
        match after.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None => return after.is_empty().then_some(items),
        }
    }
}

/// The first item of a text, and what stands behind it.
fn item(text: &str) -> Option<(Option<String>, &str)> {
    let is_quoted = text.starts_with('"');
    let mut item = String::new();
    let mut chars = text.char_indices().skip(usize::from(is_quoted));
    let end = loop {
        match chars.next() {
            None if is_quoted => return None,
            None => break text.len(),
            Some((_, '\\')) => item.push(chars.next()?.1),
            Some((at, '"')) if is_quoted => break at + 1,
            Some((at, ',')) if !is_quoted => break at,
            // Arrays in arrays are not taken.
            Some((_, '{' | '}' | '"')) if !is_quoted => return None,
            Some((_, c)) => item.push(c),
        }
    };
    let rest = text[end..].trim_start();
    if is_quoted {
        return Some((Some(item), rest));
    }
    let item = item.trim_end();
    match item {
        "" => None,
        null if null.eq_ignore_ascii_case("null") => Some((None, rest)),
        item => Some((Some(item.to_owned()), rest)),
    }
}

pub(super) fn of_binary(mut bytes: &[u8], item: &DataType) -> Option<ScalarValue> {
    if bytes.len() < HEADER {
        return None;
    }
    let dimensions = bytes.get_i32();
    bytes.advance(HEADER - 4);
    if dimensions == 0 {
        return of_items(Vec::new(), item).filter(|_| bytes.is_empty());
    }
    if dimensions != 1 || bytes.len() < DIMENSION {
        return None;
    }
    let count = usize::try_from(bytes.get_i32()).ok()?;
    bytes.advance(DIMENSION - 4);
    // Each item has four bytes at least: no more are made room for than there can be.
    let mut items = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let length = bytes.try_get_i32().ok()?;
        let of = match usize::try_from(length) {
            Ok(length) => Some(bytes.split_off(..length)?),
            // Less than nothing is NULL.
            Err(_) => None,
        };
        items.push(value(of, item, true, false).ok()?);
    }
    of_items(items, item).filter(|_| bytes.is_empty())
}

/// A list of values of one type. Decimals, each of which has the digits that were sent, get those of the longest.
fn of_items(items: Vec<ScalarValue>, item: &DataType) -> Option<ScalarValue> {
    let scale = items.iter().filter_map(|value| match value {
        ScalarValue::Decimal128(Some(_), _, scale) => Some(*scale),
        _ => None,
    });
    let of = match (item, scale.max()) {
        (DataType::Decimal128(..), Some(scale)) => DataType::Decimal128(38, scale),
        _ => item.clone(),
    };
    let items: Option<Vec<ScalarValue>> = items
        .into_iter()
        .map(|value| if value.data_type() == of { Some(value) } else { value.cast_to(&of).ok() })
        .collect();
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&items?, &of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Option<ScalarValue>) -> String {
        value.map_or_else(|| "none".to_owned(), |value| value.to_string())
    }

    #[test]
    fn texts_of_arrays() {
        for (text, item, want) in [
            ("{1,2,NULL}", DataType::Int64, "[1, 2, ]"),
            (" { 1 , 2 } ", DataType::Int32, "[1, 2]"),
            ("{}", DataType::Int64, "[]"),
            (r#"{a,"a b","NULL",null,"q\"\\,{}"}"#, DataType::Utf8, r#"[a, a b, NULL, , q"\,{}]"#),
            ("{1.5,22,NULL}", DataType::Decimal128(38, 10), "[1.5, 22.0, ]"),
            ("{größe}", DataType::Utf8, "[größe]"),
            ("{1,x}", DataType::Int64, "none"),
            ("{1,,2}", DataType::Int64, "none"),
            ("{{1},{2}}", DataType::Int64, "none"),
            ("{1", DataType::Int64, "none"),
            (r#"{"a}"#, DataType::Utf8, "none"),
            (r#"{"a"b}"#, DataType::Utf8, "none"),
            ("[0:1]={1,2}", DataType::Int64, "none"),
            ("1,2", DataType::Int64, "none"),
        ] {
            assert_eq!(shown(of_text(text, &item)), want, "{text}");
        }
    }

    #[test]
    fn arrays_in_binary() {
        let bytes = |dimensions: i32, count: i32, items: &[&[u8]]| {
            let mut bytes = [dimensions.to_be_bytes(), [0; 4], 23_i32.to_be_bytes()].concat();
            bytes.extend([count.to_be_bytes(), 1_i32.to_be_bytes()].concat());
            items.iter().for_each(|item| bytes.extend_from_slice(item));
            bytes
        };
        let seven = [4_i32.to_be_bytes(), 7_i32.to_be_bytes()].concat();
        let null = (-1_i32).to_be_bytes();
        let array = bytes(1, 2, &[&seven, &null]);
        assert_eq!(shown(of_binary(&array, &DataType::Int32)), "[7, ]");
        assert_eq!(shown(of_binary(&array, &DataType::Int64)), "[7, ]", "of any width");
        assert_eq!(shown(of_binary(&array[..array.len() - 1], &DataType::Int32)), "none");
        assert_eq!(shown(of_binary(&bytes(1, i32::MAX, &[&seven]), &DataType::Int32)), "none");
        assert_eq!(shown(of_binary(&bytes(2, 1, &[&seven]), &DataType::Int32)), "none");
        assert_eq!(shown(of_binary(&[0; 12], &DataType::Int32)), "[]");
    }
}
