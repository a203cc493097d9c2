#include "walproc/pieces.h"

#include "stage/mem.h"

#include <assert.h>
#include <stdlib.h>

void
pieces_init(struct pieces *pieces)
{
	*pieces = (struct pieces){0};
}

void
pieces_fini(struct pieces *pieces)
{
	for (size_t i = 0; i < pieces->count; i++) {
		assert(pieces->list[i]->users == 0);
		free(pieces->list[i]->room);
		free(pieces->list[i]);
	}
	free(pieces->list);
	pieces_init(pieces);
}

static uint64_t
end_of(const struct piece *piece)
{
	return piece->offset + piece->bytes;
}

/* Says whether a piece has the `bytes`, or has room for them behind what it
 * has: not further on, or what lies between would be read for nobody. */
static bool
may_have(
    const struct piece *piece, uint64_t salt, uint64_t offset, size_t bytes)
{
	return piece->salt == salt && offset >= piece->offset &&
	       offset <= end_of(piece) &&
	       offset + bytes <= piece->offset + piece->room_bytes;
}

/* Finds the piece that goes furthest, so that readers come together in it. */
static struct piece *
find(const struct pieces *pieces, uint64_t salt, uint64_t offset, size_t bytes)
{
	struct piece *found = NULL;

	for (size_t i = 0; i < pieces->count; i++) {
		struct piece *piece = pieces->list[i];

		if (may_have(piece, salt, offset, bytes) &&
		    (found == NULL || end_of(piece) > end_of(found)))
			found = piece;
	}
	return found;
}

/* Returns the piece that was left the longest ago, or a new one. */
static struct piece *
find_free(struct pieces *pieces)
{
	struct piece *found = NULL;

	for (size_t i = 0; i < pieces->count; i++) {
		struct piece *piece = pieces->list[i];

		if (piece->users == 0 &&
		    (found == NULL || piece->left < found->left))
			found = piece;
	}
	if (found != NULL)
		return found;
	found = mem_calloc(1, sizeof(*found));
	pieces->list =
	    mem_realloc(pieces->list, pieces->count + 1, sizeof(found));
	pieces->list[pieces->count++] = found;
	return found;
}

/* Has a piece begin at `offset`, with room for `bytes` at least. */
static void
begin(struct piece *piece, uint64_t salt, uint64_t offset, size_t bytes)
{
	size_t room = bytes > PIECES_BYTES ? bytes : PIECES_BYTES;

	/* Nothing that it has is wanted. Nor is the memory of a long record
	 * kept for a short one. */
	if (room != piece->room_bytes) {
		free(piece->room);
		piece->room = mem_alloc(room);
		piece->room_bytes = room;
	}
	piece->salt = salt;
	piece->offset = piece->proven_offset = offset;
	piece->bytes = 0;
}

/* Reads on behind what a piece has, as far as it has room. Returns 0, or -1
 * with errno set. */
static int
read_on(struct piece *piece, const struct segment *segment)
{
	size_t wanted = piece->room_bytes - piece->bytes;
	ssize_t n;

	/* Not behind the end: what is there now may be written. */
	if (segment->end_offset - end_of(piece) < wanted)
		wanted = (size_t)(segment->end_offset - end_of(piece));
	n = segment_read(
	    segment, piece->room + piece->bytes, wanted, end_of(piece));
	if (n == -1)
		return -1;
	piece->bytes += (size_t)n;
	return 0;
}

struct piece *
pieces_enter(struct pieces *pieces, const struct segment *segment,
    uint64_t offset, size_t bytes)
{
	struct piece *piece = find(pieces, segment->salt, offset, bytes);

	if (piece == NULL) {
		piece = find_free(pieces);
		begin(piece, segment->salt, offset, bytes);
	}
	if (offset + bytes > end_of(piece) && read_on(piece, segment) == -1)
		return NULL;
	piece->users++;
	return piece;
}

/* Frees the memory of those that nobody stands in, but for `kept`, and have
 * more than `most` bytes of it. */
static void
free_unused(struct pieces *pieces, const struct piece *kept, size_t most)
{
	for (size_t i = 0; i < pieces->count; i++) {
		struct piece *piece = pieces->list[i];

		if (piece == kept || piece->users > 0 ||
		    piece->room_bytes <= most)
			continue;
		free(piece->room);
		*piece = (struct piece){0};
	}
}

void
pieces_leave(struct pieces *pieces, struct piece *piece)
{
	assert(piece->users > 0);
	piece->users--;
	piece->left = ++pieces->leaves;
	/* Who comes next to a long record mostly comes to the same one. */
	if (piece->users == 0 && piece->room_bytes > PIECES_BYTES)
		free_unused(pieces, piece, PIECES_BYTES);
}

void
pieces_free_unused(struct pieces *pieces)
{
	free_unused(pieces, NULL, 0);
}
