/*
 * Whether some bytes are one JSON value, to the letter of RFC 8259, in valid
 * UTF-8 (RFC 3629), and where the members of an object are. Pure byte work: no
 * allocation, no tree, one pass. What this accepts may enter the log.
 */
#ifndef STAGE_JSON_H
#define STAGE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Arrays and objects within each other, at most. */
#define JSON_MAX_DEPTH 512

/*
 * Checks that `in`, `in_bytes` long, is exactly one JSON value with nothing
 * but white space around it. Returns true; or false with *why saying what is
 * wrong (a constant string) and *at the offset where, 0..in_bytes.
 */
bool json_check(
    const uint8_t *in, size_t in_bytes, const char **why, size_t *at);

/* One member of an object; offsets into the bytes that were walked. */
struct json_member {
	size_t key;	    /* first byte of the key, behind its quote */
	size_t key_bytes;   /* as it stands there, escapes not resolved */
	size_t value;	    /* first byte of the value */
	size_t value_bytes; /* without white space around it */
};

/* Members that an outline lists, at most. */
#define JSON_OUTLINE_MEMBERS 32

/* What the outermost value is, and where its members are if an object. */
struct json_outline {
	bool is_object;
	bool is_whole; /* is an object with all its members listed */
	size_t count;  /* of those listed, the first ones in their order */
	size_t close;  /* if is_whole: offset of the closing brace */
	struct json_member members[JSON_OUTLINE_MEMBERS];
};

/*
 * As json_check; and true sets *outline in the same pass. After false it says
 * nothing. If it is not whole, json_next_member finds all the members.
 */
bool json_outline(const uint8_t *in, size_t in_bytes,
    struct json_outline *outline, const char **why, size_t *at);

/* Says whether the value is an object. `in` passed json_check. */
bool json_is_object(const uint8_t *in, size_t in_bytes);

/*
 * Walks the members of the outermost object of `in`, which passed json_check
 * and json_is_object. *at is 0 to begin with and is moved on by each call.
 * Returns true with *member set, or false after the last member; then *at is
 * the offset of the closing brace.
 */
bool json_next_member(
    const uint8_t *in, size_t in_bytes, size_t *at, struct json_member *member);

/*
 * Says whether a key as it stands in checked JSON (`key`, between its quotes)
 * is the string `name` (UTF-8) once its escapes are resolved.
 */
bool json_key_is(const uint8_t *key, size_t key_bytes, const char *name);

/* As json_key_is, with a name of any bytes, as json_resolve writes them. */
bool json_key_equals(
    const uint8_t *key, size_t key_bytes, const void *name, size_t name_bytes);

/*
 * Writes what a key as it stands in checked JSON is once its escapes are
 * resolved to `out`, which has room for `key_bytes`. Returns the bytes written:
 * UTF-8 that may have a NUL in it, but for single surrogates, which become the
 * three bytes that UTF-8 would have for them.
 */
size_t json_resolve(uint8_t *out, const uint8_t *key, size_t key_bytes);

/*
 * Writes `in` as the inside of a JSON string (without the quotes) to `out`,
 * which has room for 6 bytes for each of `in`. Returns the bytes written.
 * `in` is valid UTF-8.
 */
size_t json_escape(uint8_t *out, const void *in, size_t in_bytes);

/* Says whether `in` is valid UTF-8 (RFC 3629: no overlong forms, no
 * surrogates, at most U+10FFFF). */
bool json_is_utf8(const void *in, size_t in_bytes);

#endif
