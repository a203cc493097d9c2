/*
 * Pieces of the segment files that were read ahead, in memory, for all readers
 * of a log that stand at about the same place: what the first of them has read
 * and found sound, the others need not. One that nobody stands in is kept for
 * who comes next, until its memory is wanted for another; of those with a long
 * record only the one that was left last is. It knows a segment by its salt,
 * which no other has.
 */
#ifndef WALPROC_PIECES_H
#define WALPROC_PIECES_H

#include "walproc/segment.h"

#include <stddef.h>
#include <stdint.h>

/* Bytes of a piece, or those of a record that is longer. */
#define PIECES_BYTES ((size_t)256 << 10)

struct piece {
	uint8_t *room;		/* owned */
	size_t room_bytes;	/* allocated */
	uint64_t salt;		/* of its segment */
	uint64_t offset;	/* in that, of the first byte */
	size_t bytes;		/* read so far; what is written later follows */
	uint64_t proven_offset; /* in the segment: what is before was found to
				 * be sound, header by header, record by
				 * record */
	size_t users;		/* readers that stand in it */
	uint64_t left;		/* when the last of them left: see pieces */
};

struct pieces {
	struct piece **list; /* owned, as are they */
	size_t count;
	uint64_t leaves; /* so far: the clock of `left` */
};

/* Makes an empty one. */
void pieces_init(struct pieces *pieces);

/* Frees the memory; nobody stands in any. */
void pieces_fini(struct pieces *pieces);

/*
 * Enters the piece that has the `bytes` at `offset` of the segment, which end
 * before the end that this has: there is one, or another goes on there, or one
 * that begins there is read. Returns it, with as many of them as are in the
 * file, to be given to pieces_leave; or NULL with errno set. What it has stays
 * until then.
 */
struct piece *pieces_enter(struct pieces *pieces, const struct segment *segment,
    uint64_t offset, size_t bytes);

/* Leaves a piece. */
void pieces_leave(struct pieces *pieces, struct piece *piece);

/* Frees the memory of those that nobody stands in: for when fewer will. */
void pieces_free_unused(struct pieces *pieces);

/* Notes that from..to of the segment was found sound, if all before it was. */
static inline void
piece_prove(struct piece *piece, uint64_t from, uint64_t to)
{
	if (piece->proven_offset == from)
		piece->proven_offset = to;
}

#endif
