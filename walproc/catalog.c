#include "walproc/catalog.h"

#include "stage/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void
catalog_init(struct catalog *catalog, int dir_fd)
{
	*catalog = (struct catalog){.dir_fd = dir_fd};
}

void
catalog_fini(struct catalog *catalog)
{
	for (size_t i = 0; i < catalog->count; i++)
		segment_close(&catalog->segments[i]);
	free(catalog->segments);
	catalog_init(catalog, catalog->dir_fd);
}

void
catalog_add(struct catalog *catalog, const struct segment *segment)
{
	struct segment *last = catalog_last(catalog);
	struct segment *added;
	uint64_t position = 0;

	if (last != NULL && last->first_seq == segment->first_seq) {
		position = last->log_offset;
		segment_close(last);
		catalog->count--;
	} else if (last != NULL) {
		assert(last->first_seq < segment->first_seq);
		position = last->log_offset + last->end_offset;
	}
	if (catalog->count == catalog->room) {
		catalog->room = catalog->room == 0 ? 8 : 2 * catalog->room;
		catalog->segments = mem_realloc(catalog->segments,
		    catalog->room, sizeof(*catalog->segments));
	}
	added = &catalog->segments[catalog->count++];
	*added = *segment;
	added->log_offset = position;
}

void
catalog_drop_first(struct catalog *catalog)
{
	segment_close(&catalog->segments[0]);
	catalog->count--;
	memmove(catalog->segments, catalog->segments + 1,
	    catalog->count * sizeof(*catalog->segments));
}

struct segment *
catalog_find(const struct catalog *catalog, uint64_t seq)
{
	size_t low = 0, high = catalog->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (catalog->segments[middle].next_seq > seq)
			high = middle;
		else
			low = middle + 1;
	}
	return low < catalog->count ? &catalog->segments[low] : NULL;
}

uint64_t
catalog_bytes(const struct catalog *catalog)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < catalog->count; i++)
		sum += catalog->segments[i].bytes;
	return sum;
}
