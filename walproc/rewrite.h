/*
 * Writes a damaged segment anew: the sound events of it, each with its number,
 * in the order and with the times that their batches had, in a new file of the
 * same name. What is missing is put on record in it (the flag of a batch in
 * layout.h), so that it is damage no more, and who delivers counts it.
 *
 * The damaged file goes to the quarantine first. At any moment one of the two
 * stands under the segment's name, whole.
 */
#ifndef WALPROC_REWRITE_H
#define WALPROC_REWRITE_H

#include "walproc/quarantine.h"
#include "walproc/recover.h"

struct rewrite_result {
	uint64_t events;		  /* sound ones, in the new file */
	char kept[QUARANTINE_NAME_BYTES]; /* the old one in the quarantine */
};

/*
 * Writes the segment anew, which is one of the catalog's and as `found` says.
 * Returns 0, or -1 with errno set and all as it was, but for what may stand in
 * the quarantine.
 */
int rewrite_segment(struct catalog *catalog, const struct recovered *found,
    const struct segment *segment, struct rewrite_result *result);

/*
 * Makes a segment without events which says that those from `first_seq` up to
 * next_seq-1 are missing; no file of the log may have the name. Returns as
 * rewrite_segment.
 */
int rewrite_gap(int dir_fd, const struct recovered *found, uint64_t first_seq,
    uint64_t next_seq);

#endif
