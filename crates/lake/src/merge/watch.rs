//! Whether rows have a key twice, found while they pass on their way into files.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use parking_lot::Mutex;

use crate::{LakeError, Result};

/// With more, looking at them one by one does not pay.
const MOST_REPEATED: usize = 1024 * 1024;

/// Hashes are kept apart by their first bits, so that no vector that grows is large.
const BUCKET_BITS: u32 = 6;

/// Keeps a hash of each key: eight bytes a row, where finding equal keys by themselves takes many times that. Two equal
/// keys are always noticed; that different ones seem equal happens about once in 10⁶ loads of five million rows, and
/// costs a closer look.
pub(super) struct KeyWatch {
    through: Arc<Mutex<Vec<Option<Hashes>>>>,
    streams: usize,
    incomplete: Arc<AtomicU64>,
}

impl KeyWatch {
    /// The streams, watched. They must be drawn to their ends. `table`: what their columns become.
    pub(super) fn over(
        keys: &[String],
        table: &SchemaRef,
        streams: Vec<SendableRecordBatchStream>,
        pool: &Arc<dyn MemoryPool>,
    ) -> (Self, Vec<SendableRecordBatchStream>) {
        let through = Arc::new(Mutex::new(Vec::new()));
        let incomplete = Arc::new(AtomicU64::new(0));
        let watch = Self { through: Arc::clone(&through), streams: streams.len(), incomplete: Arc::clone(&incomplete) };
        let hasher = KeyHasher::new(keys, table);
        let watched = streams.into_iter().map(|stream| {
            let schema = stream.schema();
            let places = keys.iter().map(|key| schema.index_of(key).ok()).collect::<Option<Vec<_>>>();
            let mut passing = Passing {
                places: places.unwrap_or_default(),
                hashes: hasher.clone().map(|hasher| Hashes::new(hasher, pool)),
                incomplete: Arc::clone(&incomplete),
                through: Arc::clone(&through),
            };
            let rows = stream.inspect(move |batch| {
                if let Ok(batch) = batch {
                    passing.look(batch);
                }
            });
            Box::pin(RecordBatchStreamAdapter::new(schema, rows)) as SendableRecordBatchStream
        });
        (watch, watched.collect())
    }

    /// How many rows had NULL in their key.
    pub(super) fn incomplete(&self) -> u64 {
        self.incomplete.load(Ordering::Relaxed)
    }

    /// What came twice. Sorts: for a thread that may block.
    pub(super) fn repeats(self) -> Repeats {
        let through = std::mem::take(&mut *self.through.lock());
        if through.len() < self.streams {
            return Repeats::Unknown;
        }
        let Some(mut all) = through.into_iter().collect::<Option<Vec<Hashes>>>() else { return Repeats::Unknown };
        let mut repeated = HashSet::new();
        for bucket in 0..1 << BUCKET_BITS {
            let mut hashes: Vec<u64> = Vec::new();
            all.iter_mut().filter_map(|of| of.buckets.get_mut(bucket)).for_each(|b| hashes.append(b));
            hashes.sort_unstable();
            repeated.extend(hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]));
        }
        match repeated.len() {
            0 => Repeats::None,
            1..=MOST_REPEATED => Repeats::Of(repeated),
            _ => Repeats::Unknown,
        }
    }
}

/// Which keys come more than once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    None,
    /// None but keys with these hashes.
    Of(HashSet<u64>),
    /// It was not found out, or there are many.
    Unknown,
}

/// Hashes of keys that are the same wherever a key comes from.
#[derive(Debug, Clone)]
pub(super) struct KeyHasher {
    /// The form in which each column of the key is hashed.
    types: Vec<DataType>,
    state: RandomState,
    buffer: Vec<u64>,
}

impl KeyHasher {
    /// `None`: equal keys may have different hashes. So it is with floating-point numbers, of which 0 and -0 are one key.
    pub(super) fn new(keys: &[String], table: &SchemaRef) -> Option<Self> {
        let form = |key: &String| match table.field_with_name(key).ok()?.data_type() {
            // Text hashes differently in each of Arrow's forms of it.
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8View),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Some(DataType::BinaryView),
            other if other.is_nested() || other.is_floating() => None,
            other => Some(other.clone()),
        };
        let types = keys.iter().map(form).collect::<Option<_>>()?;
        Some(Self { types, state: RandomState::default(), buffer: Vec::new() })
    }

    pub(super) fn hash(&mut self, keys: &[&ArrayRef], rows: usize) -> Result<&[u64]> {
        let cast_one = |(key, form): (&ArrayRef, &DataType)| match key.data_type() == form {
            true => Ok(Arc::clone(key)),
            false => cast(key, form).map_err(|e| LakeError::Query(e.into())),
        };
        let keys = keys.iter().copied().zip(&self.types).map(cast_one).collect::<Result<Vec<_>>>()?;
        self.buffer.clear();
        self.buffer.resize(rows, 0);
        create_hashes(&keys, &self.state, &mut self.buffer)?;
        Ok(&self.buffer)
    }
}

/// Of the keys of one stream.
struct Hashes {
    hasher: KeyHasher,
    buckets: Vec<Vec<u64>>,
    memory: MemoryReservation,
}

impl Hashes {
    fn new(hasher: KeyHasher, pool: &Arc<dyn MemoryPool>) -> Self {
        let memory = MemoryConsumer::new("hashes of keys").register(pool);
        Self { hasher, buckets: vec![Vec::new(); 1 << BUCKET_BITS], memory }
    }

    /// Takes those of rows without `nulls`. `None`: it cannot be gone on with.
    fn add(&mut self, keys: &[&ArrayRef], rows: usize, nulls: Option<&NullBuffer>) -> Option<()> {
        let hashes = self.hasher.hash(keys, rows).ok()?;
        for (row, hash) in hashes.iter().enumerate() {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                // The first bits are below 2^BUCKET_BITS, so that the bucket is always there.
                self.buckets.get_mut((hash >> (u64::BITS - BUCKET_BITS)) as usize)?.push(*hash);
            }
        }
        let kept: usize = self.buckets.iter().map(Vec::capacity).sum();
        self.memory.try_resize(kept * size_of::<u64>()).ok()
    }
}

/// Looks at the rows of a stream as they pass. Gives its hashes away when the stream is dropped.
struct Passing {
    /// Of the columns of the key.
    places: Vec<usize>,
    hashes: Option<Hashes>,
    incomplete: Arc<AtomicU64>,
    through: Arc<Mutex<Vec<Option<Hashes>>>>,
}

impl Passing {
    fn look(&mut self, rows: &RecordBatch) {
        let keys: Vec<&ArrayRef> = self.places.iter().map(|place| rows.column(*place)).collect();
        // A NULL in a key makes it none.
        let nulls =
            keys.iter().fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref()));
        let incomplete = nulls.as_ref().map_or(0, NullBuffer::null_count);
        self.incomplete.fetch_add(incomplete as u64, Ordering::Relaxed);
        if let Some(hashes) = &mut self.hashes
            && hashes.add(&keys, rows.num_rows(), nulls.as_ref()).is_none()
        {
            self.hashes = None;
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.through.lock().push(self.hashes.take());
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray, StringViewArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    use super::*;

    async fn repeats(keys: &[&str], parts: Vec<Vec<(&str, ArrayRef)>>, pool: Arc<dyn MemoryPool>) -> Repeats {
        let stream = |columns: Vec<(&str, ArrayRef)>| {
            let fields: Vec<_> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
            let schema = Arc::new(Schema::new(fields));
            let columns = columns.into_iter().map(|(_, array)| array).collect();
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
            let rows = futures::stream::iter([Ok(batch)]);
            Box::pin(RecordBatchStreamAdapter::new(schema, rows)) as SendableRecordBatchStream
        };
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let streams: Vec<_> = parts.into_iter().map(stream).collect();
        let table = streams[0].schema();
        let (watch, streams) = KeyWatch::over(&keys, &table, streams, &pool);
        for mut stream in streams {
            while stream.next().await.is_some() {}
        }
        watch.repeats()
    }

    fn numbers(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<Int64Array>())
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(values))
    }

    fn unbounded() -> Arc<dyn MemoryPool> {
        Arc::new(UnboundedMemoryPool::default())
    }

    fn found(repeats: Repeats) -> usize {
        match repeats {
            Repeats::None => 0,
            Repeats::Of(hashes) => hashes.len(),
            Repeats::Unknown => usize::MAX,
        }
    }

    #[tokio::test]
    async fn equal_keys_are_noticed_within_and_across_streams() {
        let ids = |values: &[i64]| vec![("id", numbers(values.iter().map(|v| Some(*v))))];
        let (upward, downward): (Vec<_>, Vec<_>) = ((0..50_000).collect(), (50_000..100_000).rev().collect());
        assert_eq!(repeats(&["id"], vec![ids(&upward), ids(&downward)], unbounded()).await, Repeats::None);
        assert_eq!(found(repeats(&["id"], vec![ids(&upward), ids(&[49_999])], unbounded()).await), 1);
        assert_eq!(found(repeats(&["id"], vec![ids(&[7, 8, 7, 9, 8, 7])], unbounded()).await), 2);
    }

    #[tokio::test]
    async fn all_columns_of_a_key_count_and_null_is_no_key() {
        let long = "a text that is longer than what a view holds";
        let pairs = |a: &[Option<i64>], b: &[&str]| vec![("a", numbers(a.to_vec())), ("b", texts(b))];
        let keys = ["a", "b"];
        let one = pairs(&[Some(1), Some(1), None, None], &["x", long, "x", "x"]);
        let with = |other| repeats(&keys, vec![one.clone(), other], unbounded());
        assert_eq!(with(pairs(&[Some(2)], &["x"])).await, Repeats::None);
        assert_eq!(found(with(pairs(&[Some(1)], &[long])).await), 1);
        assert_eq!(found(with(pairs(&[Some(1)], &["x"])).await), 1);
    }

    #[tokio::test]
    async fn a_key_is_the_same_in_every_form() {
        let forms: [ArrayRef; 2] = [texts(&["b", "c"]), Arc::new(StringArray::from(vec!["b"]))];
        let parts = forms.map(|form| vec![("x", form)]).into();
        assert_eq!(found(repeats(&["x"], parts, unbounded()).await), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_known_is_not_denied() {
        let ids = || vec![("id", numbers((0..10_000).map(Some)))];
        let little = Arc::new(GreedyMemoryPool::new(10_000));
        assert_eq!(repeats(&["id"], vec![ids()], little).await, Repeats::Unknown);
        let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        assert_eq!(repeats(&["x"], vec![vec![("x", zeros)]], unbounded()).await, Repeats::Unknown);
        assert_eq!(repeats(&["id"], vec![ids()], unbounded()).await, Repeats::None);
    }
}
