/*
 * The catalog: the segments of a log in order of their sequence numbers, the
 * oldest first. It lists; it neither reads nor writes their contents.
 */
#ifndef WALPROC_CATALOG_H
#define WALPROC_CATALOG_H

#include "walproc/segment.h"

struct catalog {
	int dir_fd;		  /* borrowed: the log's directory */
	struct segment *segments; /* owned, as are their descriptors */
	size_t count;
	size_t room; /* entries allocated */
};

/* Makes an empty catalog of the directory `dir_fd`. */
void catalog_init(struct catalog *catalog, int dir_fd);

/* Closes the segments and frees the list. */
void catalog_fini(struct catalog *catalog);

/*
 * Adds a segment behind the last, taking over its descriptor, and sets its
 * position. A segment that is there with the same first sequence number, which
 * only the last can have, is replaced. The pointers that catalog_find and
 * catalog_last gave are then void.
 */
void catalog_add(struct catalog *catalog, const struct segment *segment);

/* Closes the oldest segment and takes it off the list. */
void catalog_drop_first(struct catalog *catalog);

/* Returns the last segment, or NULL if there is none. */
static inline struct segment *
catalog_last(const struct catalog *catalog)
{
	if (catalog->count == 0)
		return NULL;
	return &catalog->segments[catalog->count - 1];
}

/*
 * Returns the segment that has, or if it is lost would have had, the event
 * `seq`: the first whose next_seq is above it. NULL if there is none.
 */
struct segment *catalog_find(const struct catalog *catalog, uint64_t seq);

/* Returns how many bytes the segment files take. */
uint64_t catalog_bytes(const struct catalog *catalog);

#endif
