//! Whether rows have a key twice, found while they pass on their way into files.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use parking_lot::Mutex;

/// Hashes are kept apart by their first bits, so that no vector that grows is large.
const BUCKET_BITS: u32 = 6;

/// Keeps a hash of each key: eight bytes a row, where finding equal keys themselves takes many times that. Two equal keys
/// are always noticed; that different ones seem equal happens about once in 10⁶ loads of five million rows, and costs a
/// closer look.
pub(super) struct KeyWatch {
    through: Arc<Mutex<Vec<Option<Hashes>>>>,
    streams: usize,
}

impl KeyWatch {
    /// The streams, watched. They must be drawn to their ends.
    pub(super) fn over(
        keys: &[String],
        streams: Vec<SendableRecordBatchStream>,
        pool: &Arc<dyn MemoryPool>,
    ) -> (Self, Vec<SendableRecordBatchStream>) {
        let through = Arc::new(Mutex::new(Vec::new()));
        let watch = Self { through: Arc::clone(&through), streams: streams.len() };
        let first = streams.first().map(|stream| stream.schema());
        let watched = streams.into_iter().map(|stream| {
            let schema = stream.schema();
            // Text hashes differently in different forms.
            let places = places(keys, &schema).filter(|_| first.as_ref() == Some(&schema));
            let hashes = places.map(|places| Hashes::new(places, pool));
            let mut passing = Passing { hashes, through: Arc::clone(&through) };
            let rows = stream.inspect(move |batch| {
                if let Ok(batch) = batch {
                    passing.look(batch);
                }
            });
            Box::pin(RecordBatchStreamAdapter::new(schema, rows)) as SendableRecordBatchStream
        });
        (watch, watched.collect())
    }

    /// Whether a key may have come twice. Sorts: for a thread that may block.
    pub(super) fn may_repeat(self) -> bool {
        let through = std::mem::take(&mut *self.through.lock());
        if through.len() < self.streams {
            return true;
        }
        let Some(mut all) = through.into_iter().collect::<Option<Vec<Hashes>>>() else { return true };
        (0..1 << BUCKET_BITS).any(|bucket| {
            let mut hashes: Vec<u64> = Vec::new();
            all.iter_mut().filter_map(|of| of.buckets.get_mut(bucket)).for_each(|b| hashes.append(b));
            hashes.sort_unstable();
            hashes.windows(2).any(|pair| pair[0] == pair[1])
        })
    }
}

/// Where the keys are; `None` where equal keys may have different hashes.
fn places(keys: &[String], schema: &SchemaRef) -> Option<Vec<usize>> {
    let place = |key: &String| {
        let (place, field) = schema.column_with_name(key)?;
        hashes_as_it_compares(field.data_type()).then_some(place)
    };
    keys.iter().map(place).collect()
}

/// Not so floating-point numbers: 0 and -0 are one key.
fn hashes_as_it_compares(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => hashes_as_it_compares(values),
        other => !other.is_nested() && !other.is_floating() && !matches!(other, DataType::Interval(_)),
    }
}

/// Of the keys of one stream.
struct Hashes {
    places: Vec<usize>,
    state: RandomState,
    buffer: Vec<u64>,
    buckets: Vec<Vec<u64>>,
    memory: MemoryReservation,
}

impl Hashes {
    fn new(places: Vec<usize>, pool: &Arc<dyn MemoryPool>) -> Self {
        Self {
            places,
            state: RandomState::default(),
            buffer: Vec::new(),
            buckets: vec![Vec::new(); 1 << BUCKET_BITS],
            memory: MemoryConsumer::new("hashes of keys").register(pool),
        }
    }

    /// `None`: it cannot be gone on with.
    fn add(&mut self, rows: &RecordBatch) -> Option<()> {
        let keys: Vec<&ArrayRef> = self.places.iter().map(|place| rows.column(*place)).collect();
        // A NULL in a key makes it no key.
        let whole =
            keys.iter().fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref()));
        self.buffer.clear();
        self.buffer.resize(rows.num_rows(), 0);
        create_hashes(keys, &self.state, &mut self.buffer).ok()?;
        for (row, hash) in self.buffer.iter().enumerate() {
            if whole.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                // No more than 2^BUCKET_BITS buckets, so that it is always there.
                self.buckets.get_mut((hash >> (u64::BITS - BUCKET_BITS)) as usize)?.push(*hash);
            }
        }
        let kept: usize = self.buckets.iter().map(Vec::capacity).sum();
        self.memory.try_resize(kept * size_of::<u64>()).ok()
    }
}

/// Gives its hashes away when the stream is dropped.
struct Passing {
    hashes: Option<Hashes>,
    through: Arc<Mutex<Vec<Option<Hashes>>>>,
}

impl Passing {
    fn look(&mut self, rows: &RecordBatch) {
        if let Some(hashes) = &mut self.hashes
            && hashes.add(rows).is_none()
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
    use datafusion::arrow::array::{Float64Array, Int64Array, StringViewArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    use super::*;

    async fn may_repeat(keys: &[&str], parts: Vec<Vec<(&str, ArrayRef)>>, pool: Arc<dyn MemoryPool>) -> bool {
        let stream = |columns: Vec<(&str, ArrayRef)>| {
            let fields: Vec<_> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
            let schema = Arc::new(Schema::new(fields));
            let columns = columns.into_iter().map(|(_, array)| array).collect();
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
            let rows = futures::stream::iter([Ok(batch)]);
            Box::pin(RecordBatchStreamAdapter::new(schema, rows)) as SendableRecordBatchStream
        };
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let (watch, streams) = KeyWatch::over(&keys, parts.into_iter().map(stream).collect(), &pool);
        for mut stream in streams {
            while stream.next().await.is_some() {}
        }
        watch.may_repeat()
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

    #[tokio::test]
    async fn equal_keys_are_noticed_within_and_across_streams() {
        let ids = |values: &[i64]| vec![("id", numbers(values.iter().map(|v| Some(*v))))];
        let (upward, downward): (Vec<_>, Vec<_>) = ((0..50_000).collect(), (50_000..100_000).rev().collect());
        assert!(!may_repeat(&["id"], vec![ids(&upward), ids(&downward)], unbounded()).await);
        assert!(may_repeat(&["id"], vec![ids(&upward), ids(&[49_999])], unbounded()).await);
        assert!(may_repeat(&["id"], vec![ids(&[7, 8, 7])], unbounded()).await);
    }

    #[tokio::test]
    async fn all_columns_of_a_key_count_and_null_is_no_key() {
        let long = "a text that is longer than what a view holds";
        let pairs = |a: &[Option<i64>], b: &[&str]| vec![("a", numbers(a.to_vec())), ("b", texts(b))];
        let keys = ["a", "b"];
        let one = pairs(&[Some(1), Some(1), None, None], &["x", long, "x", "x"]);
        assert!(!may_repeat(&keys, vec![one.clone(), pairs(&[Some(2)], &["x"])], unbounded()).await);
        assert!(may_repeat(&keys, vec![one.clone(), pairs(&[Some(1)], &[long])], unbounded()).await);
        assert!(may_repeat(&keys, vec![one, pairs(&[Some(1)], &["x"])], unbounded()).await);
    }

    #[tokio::test]
    async fn what_cannot_be_known_may_be() {
        let ids = || vec![("id", numbers((0..10_000).map(Some)))];
        assert!(may_repeat(&["id"], vec![ids()], Arc::new(GreedyMemoryPool::new(10_000))).await, "no memory");
        assert!(
            may_repeat(&["x"], vec![vec![("x", Arc::new(Float64Array::from(vec![0.0, -0.0])))]], unbounded()).await
        );
        let other_form: ArrayRef = Arc::new(datafusion::arrow::array::StringArray::from(vec!["b"]));
        assert!(may_repeat(&["x"], vec![vec![("x", texts(&["a"]))], vec![("x", other_form)]], unbounded()).await);
        assert!(!may_repeat(&["id"], vec![ids()], unbounded()).await);
    }
}
