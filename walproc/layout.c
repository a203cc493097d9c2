#include "walproc/layout.h"

#include "stage/bytes.h"

/* Without a call into the library, short events take a third less time. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

static const uint8_t segment_magic[8] = {
    0x89, 'W', 'P', 'S', 'E', 'G', '\r', '\n'};
static const uint8_t batch_magic[4] = {'W', 'P', 'B', 'H'};
static const uint8_t cursor_magic[8] = {
    0x89, 'W', 'P', 'C', 'U', 'R', '\r', '\n'};

#define FLAG_GAP_KNOWN UINT32_C(1)

uint64_t
layout_batch_bytes(const struct layout_batch *batch)
{
	return layout_align(LAYOUT_BATCH_BYTES + batch->body_bytes);
}

/* Writes magic, version and log id, the first 32 bytes of each file. */
static void
put_start(uint8_t *out, const uint8_t magic[8],
    const uint8_t log_id[LAYOUT_LOG_ID_BYTES])
{
	memcpy(out, magic, 8);
	put_be16(out + 8, LAYOUT_MAJOR);
	put_be16(out + 10, LAYOUT_MINOR);
	put_be32(out + 12, 0);
	memcpy(out + 16, log_id, LAYOUT_LOG_ID_BYTES);
}

/* Checks the start and the checksum, which is the last 8 of `bytes`. */
static enum layout_status
check_start(const uint8_t *in, size_t bytes, const uint8_t magic[8])
{
	if (memcmp(in, magic, 8) != 0)
		return LAYOUT_BAD;
	if (XXH3_64bits(in, bytes - 8) != get_be64(in + bytes - 8))
		return LAYOUT_BAD;
	if (get_be16(in + 8) != LAYOUT_MAJOR)
		return LAYOUT_NEWER;
	return LAYOUT_OK;
}

void
layout_put_segment(
    uint8_t out[LAYOUT_SEGMENT_BYTES], const struct layout_segment *header)
{
	put_start(out, segment_magic, header->log_id);
	put_be64(out + 32, header->first_seq);
	put_be64(out + 40, header->salt);
	put_be64(out + 48, (uint64_t)header->created_ns);
	put_be64(out + 56, XXH3_64bits(out, 56));
}

enum layout_status
layout_get_segment(
    const uint8_t in[LAYOUT_SEGMENT_BYTES], struct layout_segment *header)
{
	enum layout_status status =
	    check_start(in, LAYOUT_SEGMENT_BYTES, segment_magic);

	if (status != LAYOUT_OK)
		return status;
	if (get_be64(in + 32) > LAYOUT_SEQ_MAX + 1)
		return LAYOUT_BAD;
	memcpy(header->log_id, in + 16, LAYOUT_LOG_ID_BYTES);
	header->first_seq = get_be64(in + 32);
	header->salt = get_be64(in + 40);
	header->created_ns = (int64_t)get_be64(in + 48);
	return LAYOUT_OK;
}

void
layout_put_batch(uint8_t out[LAYOUT_BATCH_BYTES],
    const struct layout_batch *batch, uint64_t salt, uint64_t offset)
{
	memcpy(out, batch_magic, 4);
	put_be32(out + 4, batch->body_bytes);
	put_be32(out + 8, batch->count);
	put_be32(out + 12, batch->is_gap_known ? FLAG_GAP_KNOWN : 0);
	put_be64(out + 16, batch->first_seq);
	put_be64(out + 24, batch->durable_seq);
	put_be64(out + 32, (uint64_t)batch->realtime_ns);
	put_be64(out + 40, XXH3_64bits_withSeed(out, 40, salt ^ offset));
}

enum layout_status
layout_guess_batch(
    const uint8_t in[LAYOUT_BATCH_BYTES], struct layout_batch *batch)
{
	uint32_t body_bytes = get_be32(in + 4), count = get_be32(in + 8);
	uint64_t first_seq = get_be64(in + 16), durable_seq = get_be64(in + 24);

	if (memcmp(in, batch_magic, 4) != 0 ||
	    get_be32(in + 12) > FLAG_GAP_KNOWN)
		return LAYOUT_BAD;
	if (count > body_bytes / LAYOUT_RECORD_BYTES ||
	    first_seq > LAYOUT_SEQ_MAX + 1 - count || durable_seq >= first_seq)
		return LAYOUT_BAD;
	batch->body_bytes = body_bytes;
	batch->count = count;
	batch->is_gap_known = get_be32(in + 12) == FLAG_GAP_KNOWN;
	batch->first_seq = first_seq;
	batch->durable_seq = durable_seq;
	batch->realtime_ns = (int64_t)get_be64(in + 32);
	return LAYOUT_OK;
}

enum layout_status
layout_get_batch(const uint8_t in[LAYOUT_BATCH_BYTES], uint64_t salt,
    uint64_t offset, struct layout_batch *batch)
{
	if (memcmp(in, batch_magic, 4) != 0)
		return LAYOUT_BAD;
	if (XXH3_64bits_withSeed(in, 40, salt ^ offset) != get_be64(in + 40))
		return LAYOUT_BAD;
	return layout_guess_batch(in, batch);
}

static uint32_t
record_checksum(
    const uint8_t *event, uint32_t bytes, uint64_t salt, uint64_t seq)
{
	return (uint32_t)XXH3_64bits_withSeed(event, bytes, salt ^ seq);
}

void
layout_put_record(uint8_t out[LAYOUT_RECORD_BYTES], const uint8_t *event,
    uint32_t bytes, uint64_t salt, uint64_t seq)
{
	put_be32(out, bytes);
	put_be32(out + 4, record_checksum(event, bytes, salt, seq));
}

bool
layout_is_record(const uint8_t in[LAYOUT_RECORD_BYTES], const uint8_t *event,
    uint32_t bytes, uint64_t salt, uint64_t seq)
{
	return get_be32(in + 4) == record_checksum(event, bytes, salt, seq);
}

void
layout_put_cursor(
    uint8_t out[LAYOUT_CURSOR_BYTES], const struct layout_cursor *slot)
{
	put_start(out, cursor_magic, slot->log_id);
	put_be64(out + 32, slot->generation);
	put_be64(out + 40, slot->acked_seq);
	put_be64(out + 48, slot->delivered);
	put_be64(out + 56, slot->rejected);
	put_be64(out + 64, slot->dropped);
	put_be64(out + 72, slot->quarantined);
	put_be64(out + 80, slot->refused);
	put_be64(out + 88, slot->dropped_newest);
	put_be64(out + 96, slot->durable_seq);
	put_be64(out + 104, slot->letters_bytes);
	put_be64(out + 112, XXH3_64bits(out, 112));
}

enum layout_status
layout_get_cursor(
    const uint8_t in[LAYOUT_CURSOR_BYTES], struct layout_cursor *slot)
{
	enum layout_status status =
	    check_start(in, LAYOUT_CURSOR_BYTES, cursor_magic);

	if (status != LAYOUT_OK)
		return status;
	if (get_be64(in + 40) > LAYOUT_SEQ_MAX ||
	    get_be64(in + 96) > LAYOUT_SEQ_MAX)
		return LAYOUT_BAD;
	memcpy(slot->log_id, in + 16, LAYOUT_LOG_ID_BYTES);
	slot->generation = get_be64(in + 32);
	slot->acked_seq = get_be64(in + 40);
	slot->delivered = get_be64(in + 48);
	slot->rejected = get_be64(in + 56);
	slot->dropped = get_be64(in + 64);
	slot->quarantined = get_be64(in + 72);
	slot->refused = get_be64(in + 80);
	slot->dropped_newest = get_be64(in + 88);
	slot->durable_seq = get_be64(in + 96);
	slot->letters_bytes = get_be64(in + 104);
	return LAYOUT_OK;
}
