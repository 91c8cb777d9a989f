//! Streams as a table that can be read once.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::exec_datafusion_err;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;
use parking_lot::Mutex;

use crate::Result;

/// A table with one partition for each stream.
pub(super) fn table_of(schema: &SchemaRef, streams: Vec<SendableRecordBatchStream>) -> Result<Arc<dyn TableProvider>> {
    let partitions = streams
        .into_iter()
        .map(|stream| Arc::new(Once { schema: Arc::clone(schema), stream: Mutex::new(Some(stream)) }) as _)
        .collect();
    Ok(Arc::new(StreamingTable::try_new(Arc::clone(schema), partitions)?))
}

struct Once {
    schema: SchemaRef,
    stream: Mutex<Option<SendableRecordBatchStream>>,
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("read", &self.stream.lock().is_none()).finish()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.stream.lock().take().unwrap_or_else(|| {
            let error = exec_datafusion_err!("the rows to merge were asked for twice");
            Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter([Err(error)])))
        })
    }
}
