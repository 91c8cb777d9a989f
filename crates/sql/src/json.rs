//! Values as JSON where it has no way to write them: NaN and infinity, and maps whose keys are no texts.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};

/// For the JSON writers of doors: `"NaN"`, `"Infinity"` and `"-Infinity"` are texts, as PostgreSQL writes them (Arrow
/// would write `null`), and so are the keys of maps, whatever their type.
#[must_use]
pub fn json_values() -> Arc<dyn EncoderFactory> {
    Arc::new(JsonValues)
}

#[derive(Debug)]
struct JsonValues;

impl EncoderFactory for JsonValues {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            of if of.is_floating() => Box::new(Number { array, plain: make_encoder(field, array, &PLAIN)? }),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 && !fields[0].data_type().is_string() => {
                    let map = array.as_map();
                    let keys = cast(map.keys(), &DataType::Utf8)?.as_string::<i32>().clone();
                    let values = make_encoder(&fields[1], map.values(), options)?;
                    Box::new(Map { offsets: map.offsets(), keys, values })
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// How Arrow writes numbers.
static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

struct Number<'a> {
    array: &'a dyn Array,
    plain: NullableEncoder<'a>,
}

impl Number<'_> {
    fn value(&self, row: usize) -> f64 {
        match self.array.data_type() {
            DataType::Float64 => self.array.as_primitive::<Float64Type>().value(row),
            DataType::Float32 => f64::from(self.array.as_primitive::<Float32Type>().value(row)),
            _ => self.array.as_primitive::<Float16Type>().value(row).to_f64(),
        }
    }
}

impl Encoder for Number<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text: &[u8] = match self.value(row) {
            value if value.is_nan() => b"\"NaN\"",
            f64::INFINITY => b"\"Infinity\"",
            f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => return self.plain.encode(row, out),
        };
        out.extend_from_slice(text);
    }
}

struct Map<'a> {
    offsets: &'a OffsetBuffer<i32>,
    keys: StringArray,
    values: NullableEncoder<'a>,
}

impl Encoder for Map<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let place = |at: usize| usize::try_from(self.offsets[at]).unwrap_or_default();
        let entries = place(row)..place(row + 1);
        out.push(b'{');
        for at in entries.clone() {
            if at > entries.start {
                out.push(b',');
            }
            // Writing into memory does not fail.
            let _ = serde_json::to_writer(&mut *out, self.keys.value(at));
            out.push(b':');
            match self.values.is_null(at) {
                true => out.extend_from_slice(b"null"),
                false => self.values.encode(at, out),
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float64Array, Int64Builder, ListArray, MapBuilder, RecordBatch};
    use arrow::json::{ArrayWriter, WriterBuilder};

    use super::*;

    fn written(column: ArrayRef) -> String {
        let batch = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
        let builder = WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(json_values());
        let mut writer: ArrayWriter<Vec<u8>> = builder.build(Vec::new());
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        String::from_utf8(writer.into_inner()).unwrap()
    }

    #[test]
    fn numbers_that_json_has_not_are_texts() {
        let numbers = [Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), None, Some(-0.5), Some(1e300)];
        let want = r#"[{"x":"NaN"},{"x":"Infinity"},{"x":"-Infinity"},{"x":null},{"x":-0.5},{"x":1.0e300}]"#;
        assert_eq!(written(Arc::new(Float64Array::from(numbers.to_vec()))), want);
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(f64::NAN), None, Some(2.0)])]);
        assert_eq!(written(Arc::new(list)), r#"[{"x":["NaN",null,2.0]}]"#);
    }

    #[test]
    fn keys_of_maps_are_texts() {
        let mut maps = MapBuilder::new(None, Int64Builder::new(), Int64Builder::new());
        maps.keys().append_value(7);
        maps.values().append_value(1);
        maps.keys().append_value(8);
        maps.values().append_null();
        maps.append(true).unwrap();
        maps.append(false).unwrap();
        assert_eq!(written(Arc::new(maps.finish())), r#"[{"x":{"7":1,"8":null}},{"x":null}]"#);
    }
}
