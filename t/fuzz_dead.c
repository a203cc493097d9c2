/*
 * Dead letters into a file that has any bytes already: what stands in whole
 * lines is not touched, half a last line is cut, and each letter is one line
 * of JSON that has exactly the bytes that came.
 *
 * Input: how many bytes the file has (16 bits) and these, the length of the
 * reason and the reason, how large the pieces are that a letter comes in, and
 * the event.
 */
#include "stage/io.h"
#include "stage/json.h"
#include "t/fuzz_input.h"
#include "t/log_dir.h"
#include "walproc/dead.h"

#include <openssl/evp.h>

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_MAX_BYTES ((size_t)1 << 22)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct log_dir dir = {.fd = -1};

static void
clean_up(void)
{
	log_dir_remove(&dir);
}

/* Says whether the member `name` of the line is there, and where. */
static bool
find_member(const uint8_t *line, size_t bytes, const char *name,
    struct json_member *member)
{
	size_t at = 0;

	while (json_next_member(line, bytes, &at, member))
		if (json_key_is(line + member->key, member->key_bytes, name))
			return true;
	return false;
}

/* A letter is an object with the event's bytes in it. */
static void
check_letter(
    const uint8_t *line, size_t bytes, const uint8_t *event, size_t event_bytes)
{
	struct json_member member;
	const char *why;
	uint8_t *decoded;
	size_t at, text;
	int n;

	assert(json_check(line, bytes, &why, &at));
	assert(json_is_object(line, bytes));
	assert(find_member(line, bytes, "time", &member));
	assert(find_member(line, bytes, "reason", &member));
	assert(find_member(line, bytes, "bytes", &member));
	/* The value has its quotes around it. */
	text = member.value_bytes - 2;
	assert(text == (event_bytes + 2) / 3 * 4);
	decoded = malloc(text + 3);
	assert(decoded != NULL);
	n = EVP_DecodeBlock(decoded, line + member.value + 1, (int)text);
	assert(n >= 0 && (size_t)n >= event_bytes);
	assert(event_bytes == 0 || memcmp(decoded, event, event_bytes) == 0);
	free(decoded);
}

/* Takes one letter from the front of what is left of the file. */
static void
take_letter(const uint8_t **left, size_t *left_bytes, const uint8_t *event,
    size_t event_bytes)
{
	const uint8_t *end = memchr(*left, '\n', *left_bytes);
	size_t line;

	assert(end != NULL);
	line = (size_t)(end - *left);
	check_letter(*left, line, event, event_bytes);
	*left += line + 1;
	*left_bytes -= line + 1;
}

/* Writes the event whole, and in pieces with another letter between them. */
static void
write_letters(
    const char *reason, size_t piece, const uint8_t *event, size_t event_bytes)
{
	struct dead_part part;
	struct dead dead;

	assert(dead_open(&dead, dir.fd, UINT64_MAX) == 0);
	assert(dead_write(
		   &dead, reason, 7, UINT64_MAX - 1, event, event_bytes) == 0);
	dead_part_init(&part);
	assert(dead_begin(&dead, &part, reason) == 0);
	for (size_t at = 0; at < event_bytes; at += piece) {
		size_t left = event_bytes - at;

		assert(dead_add(&part, event + at,
			   left < piece ? left : piece) == 0);
	}
	assert(dead_write(&dead, "", DEAD_NONE, DEAD_NONE, NULL, 0) == 0);
	assert(dead_part_is_open(&part));
	assert(dead_end(&dead, &part) == 0);
	assert(dead_sync(&dead) == 0);
	dead_close(&dead);
}

/* Returns how much of the bytes is whole lines. */
static size_t
whole_lines(const uint8_t *bytes, size_t count)
{
	while (count > 0 && bytes[count - 1] != '\n')
		count--;
	return count;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fuzz_input in = {.data = data, .bytes = bytes};
	const uint8_t *before, *left;
	char reason[256] = "", path[128];
	size_t before_bytes, kept, left_bytes, piece, n;
	uint8_t raw[2], *after;

	if (dir.fd == -1) {
		log_dir_make(&dir);
		(void)atexit(clean_up);
	}
	fuzz_take(&in, raw, sizeof(raw));
	before = in.data;
	before_bytes = get_be16(raw) < in.bytes ? get_be16(raw) : in.bytes;
	in.data += before_bytes;
	in.bytes -= before_bytes;
	fuzz_take(&in, reason, fuzz_byte(&in));
	piece = 1 + (size_t)fuzz_byte(&in);

	log_dir_clear(&dir);
	log_dir_write(&dir, "dead-letters.ndjson", before, before_bytes);
	write_letters(reason, piece, in.data, in.bytes);
	(void)snprintf(path, sizeof(path), "%s/dead-letters.ndjson", dir.path);
	after = (uint8_t *)io_read_file(path, FILE_MAX_BYTES, &n);
	assert(after != NULL);
	kept = whole_lines(before, before_bytes);
	assert(n >= kept && (kept == 0 || memcmp(after, before, kept) == 0));
	left = after + kept;
	left_bytes = n - kept;
	take_letter(&left, &left_bytes, in.data, in.bytes);
	take_letter(&left, &left_bytes, in.data, 0);
	take_letter(&left, &left_bytes, in.data, in.bytes);
	assert(left_bytes == 0);
	free(after);
	return 0;
}
