#include "stage/json.h"
#include "stage/log.h"
#include "walproc/patch.h"
#include "walproc/patch_parts.h"
#include "walproc/patch_steps.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* An event and what becomes of it. */
struct work {
	const struct patch *patch;
	const uint8_t *event;
	size_t bytes;
	const struct json_outline *outline;
	struct part_values values;
	size_t close;		    /* offset of the closing brace */
	bool is_empty;		    /* there is no member */
	bool replaces;		    /* a member's value gives way */
	bool done[PATCH_MAX_PLAIN]; /* by a value that gave way; of all the
				     * operations that there are */
};

/* Begins the work: sets what does not depend on the members. */
static void
work_init(struct work *work, const struct patch *patch,
    const struct patch_event *about, const struct json_outline *outline)
{
	work->patch = patch;
	work->outline = outline;
	part_values_init(&work->values, patch, about);
	work->is_empty = true;
	work->replaces = false;
	memset(work->done, 0, patch->count * sizeof(work->done[0]));
}

/* Returns the bytes that all the parts of an operation take. */
static size_t
operation_bytes(const struct work *work, const struct operation *operation)
{
	size_t sum = 0, bytes;

	for (size_t i = 0; i < operation->count; i++) {
		(void)part_bytes(&work->values, &operation->parts[i], &bytes);
		sum += bytes;
	}
	return sum;
}

static uint8_t *
put(uint8_t *to, const void *data, size_t bytes)
{
	memcpy(to, data, bytes);
	return to + bytes;
}

/* Puts the parts of an operation but for the first `skip` bytes. */
static uint8_t *
put_operation(const struct work *work, const struct operation *operation,
    size_t skip, uint8_t *to)
{
	for (size_t i = 0; i < operation->count; i++) {
		size_t bytes;
		const uint8_t *data =
		    part_bytes(&work->values, &operation->parts[i], &bytes);

		to = put(to, data + skip, bytes - skip);
		skip = 0;
	}
	return to;
}

/* Returns the operation that names this member, or NULL. */
static const struct operation *
operation_on(const struct work *work, const struct json_member *member)
{
	const uint8_t *key = work->event + member->key;

	for (size_t i = 0; i < work->patch->count; i++)
		if (operation_names(
			&work->patch->operations[i], key, member->key_bytes))
			return &work->patch->operations[i];
	return NULL;
}

/* Returns the next member; see member_walk_next. */
static const struct json_member *
next_member(const struct work *work, struct member_walk *walk)
{
	return member_walk_next(walk, work->event, work->bytes, work->outline);
}

/*
 * Finds the members whose values give way, and sets *total to the bytes of the
 * patched event. Returns NULL, or the insert whose key there is already.
 */
static const struct operation *
measure(struct work *work, size_t *total)
{
	const struct patch *patch = work->patch;
	const struct json_member *member;
	struct member_walk walk = {.next = 0};

	*total = work->bytes;
	while ((member = next_member(work, &walk)) != NULL) {
		const struct operation *on = operation_on(work, member);

		work->is_empty = false;
		if (on == NULL)
			continue;
		if (on->how == PATCH_INSERT)
			return on;
		*total += operation_bytes(work, on) - on->name_bytes;
		*total -= member->value_bytes;
		work->replaces = work->done[on - patch->operations] = true;
	}
	work->close = walk.at;
	for (size_t i = 0; i < patch->count; i++)
		if (!work->done[i])
			*total += operation_bytes(work, &patch->operations[i]);
	/* The first member of all has no comma before it. */
	*total -= work->is_empty;
	return NULL;
}

/* Puts the event up to its closing brace, with the new values. */
static uint8_t *
put_members(const struct work *work, uint8_t *to)
{
	const struct json_member *member;
	struct member_walk walk = {.next = 0};
	size_t copied = 0;

	while (work->replaces && (member = next_member(work, &walk)) != NULL) {
		const struct operation *on = operation_on(work, member);

		if (on == NULL)
			continue;
		to = put(to, work->event + copied, member->value - copied);
		to = put_operation(work, on, on->name_bytes, to);
		copied = member->value + member->value_bytes;
	}
	return put(to, work->event + copied, work->close - copied);
}

/* Puts the patched event. */
static uint8_t *
put_all(const struct work *work, uint8_t *to)
{
	size_t skip = work->is_empty;

	to = put_members(work, to);
	for (size_t i = 0; i < work->patch->count; i++) {
		if (work->done[i])
			continue;
		to = put_operation(work, &work->patch->operations[i], skip, to);
		skip = 0;
	}
	return put(to, work->event + work->close, work->bytes - work->close);
}

/* Says whether no member can be one that an operation names. */
static bool
has_no_key(const struct patch *patch, const uint8_t *event,
    const struct json_outline *outline)
{
	if (!outline->is_whole)
		return false;
	for (size_t i = 0; i < outline->count; i++)
		if (patch->may_begin[event[outline->members[i].key]])
			return false;
	return true;
}

/* Puts the event with the tail before its closing brace. Returns false if the
 * buffer has no room for it. */
static bool
put_tail(const struct patch *patch, const uint8_t *event, size_t bytes,
    const struct json_outline *outline, struct buf *buf)
{
	/* The first member of all has no comma before it. */
	size_t skip = outline->count == 0;
	size_t tail_bytes = buf_bytes(&patch->tail) - skip;
	uint8_t *to = buf_reserve(buf, bytes + tail_bytes);

	if (to == NULL)
		return false;
	to = put(to, event, outline->close);
	to = put(to, buf_front(&patch->tail) + skip, tail_bytes);
	(void)put(to, event + outline->close, bytes - outline->close);
	buf_commit(buf, bytes + tail_bytes);
	return true;
}

int
patch_apply(const struct patch *patch, const struct patch_event *about,
    const uint8_t *event, size_t bytes, const struct json_outline *outline,
    struct buf *buf, char *why, size_t why_bytes)
{
	struct work work;
	const struct operation *exists;
	size_t total;
	uint8_t *to, *end;
	char key[64];

	if (!outline->is_object) {
		(void)snprintf(
		    why, why_bytes, "not an object: it cannot be patched");
		return -1;
	}
	if (patch->has_tail && has_no_key(patch, event, outline) &&
	    put_tail(patch, event, bytes, outline, buf))
		return 0;
	if (!patch->is_plain)
		return patch_steps_apply(
		    patch, about, event, bytes, outline, buf, why, why_bytes);
	work_init(&work, patch, about, outline);
	work.event = event;
	work.bytes = bytes;
	exists = measure(&work, &total);
	if (exists != NULL) {
		(void)log_escape(
		    key, sizeof(key), exists->key, exists->key_bytes);
		(void)snprintf(why, why_bytes,
		    "insert: the key \"%s\" exists already", key);
		return -1;
	}
	to = buf_reserve(buf, total);
	if (to == NULL) {
		(void)snprintf(why, why_bytes, "too long once patched");
		return -1;
	}
	end = put_all(&work, to);
	assert((size_t)(end - to) == total);
	buf_commit(buf, total);
	return 0;
}
