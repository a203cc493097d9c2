#include "t/rewind.h"

int
rewind_reader(struct wal *wal, struct reader *reader)
{
	uint64_t seq = wal_acked_seq(wal) + 1;

	reader_init(reader, &wal->catalog, seq);
	reader->recent = &wal->recent;
	/* More may be stored than was said before. */
	wal->batch_left = 0;
	return wal_find_offset(wal, seq, &wal->ended_offset);
}
