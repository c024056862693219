//! A thread pool for futures: multilevel feedback queues, work stealing, or stepped.
