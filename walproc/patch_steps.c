#include "walproc/patch_steps.h"

#include "stage/json.h"
#include "stage/log.h"
#include "walproc/patch_parts.h"

#include <stdio.h>

/* Of an object whose members have to be walked. */
static const struct json_outline unlisted = {.is_object = true};

/* A pass through an event. */
struct pass {
	const struct patch *patch;
	const struct part_values *values;
	struct buf *out;
	bool is_full; /* the cap of `out` was met; what it holds is no event */
};

/* An object on its way out: bytes that stay are put when one that does not is
 * met, as long runs. */
struct splice {
	const uint8_t *in;
	size_t in_bytes;
	size_t copied;	   /* of these: put, or left out */
	size_t end;	   /* behind the last member that was met */
	bool has_member;   /* one stays, or was put */
	bool has_left_out; /* one was left out */
};

static void
put(struct pass *pass, const void *data, size_t bytes)
{
	if (!pass->is_full && buf_append(pass->out, data, bytes) == -1)
		pass->is_full = true;
}

/* Puts what is left before the offset `end`. */
static void
put_until(struct pass *pass, struct splice *splice, size_t end)
{
	put(pass, splice->in + splice->copied, end - splice->copied);
	splice->copied = end;
}

/* Puts a comma, unless it would be the first thing in the object, the key and
 * the colon. */
static void
put_name(struct pass *pass, const struct operation *operation, bool has_member)
{
	size_t skip = has_member ? 0 : 1;

	put(pass, buf_front(&operation->parts[0].text) + skip,
	    operation->name_bytes - skip);
}

/* Puts the value of an operation that has one. */
static void
put_value(struct pass *pass, const struct operation *operation)
{
	size_t skip = operation->name_bytes;

	for (size_t i = 0; i < operation->count; i++) {
		size_t bytes;
		const uint8_t *data =
		    part_bytes(pass->values, &operation->parts[i], &bytes);

		put(pass, data + skip, bytes - skip);
		skip = 0;
	}
}

/* Puts a record where there was none: without what erases. */
static void
put_record(struct pass *pass, const struct operation *operation)
{
	bool has_member = false;

	put(pass, "{", 1);
	for (size_t i = 0; i < operation->inner_count; i++) {
		const struct operation *inner = &operation->inner[i];

		if (inner->how == PATCH_ERASE)
			continue;
		put_name(pass, inner, has_member);
		has_member = true;
		if (inner->how == PATCH_MERGE)
			put_record(pass, inner);
		else
			put_value(pass, inner);
	}
	put(pass, "}", 1);
}

/* Puts the members of operations that found none. */
static void
put_missing(struct pass *pass, struct splice *splice,
    const struct operation *operations, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct operation *operation = &operations[i];

		if (pass->patch->found[operation->id] ||
		    operation->how == PATCH_ERASE ||
		    operation->how == PATCH_UPDATE)
			continue;
		put_name(pass, operation, splice->has_member);
		splice->has_member = true;
		if (operation->how == PATCH_MERGE)
			put_record(pass, operation);
		else
			put_value(pass, operation);
	}
}

/*
 * Leaves out a member with the comma before it and the white space around that
 * comma. Where no member stays before it, it goes with all that is behind it up
 * to the next one, or to the closing brace.
 */
static void
leave_out(
    struct pass *pass, struct splice *splice, const struct json_member *member)
{
	if (splice->has_member)
		put_until(pass, splice, splice->end);
	else if (!splice->has_left_out)
		put_until(pass, splice, member->key - 1);
	splice->has_left_out = true;
	splice->copied = member->value + member->value_bytes;
}

static void put_object(struct pass *pass, const uint8_t *in, size_t in_bytes,
    const struct json_outline *outline, const struct operation *operations,
    size_t count);

/* Puts a member up to its value, and what becomes of that. */
static void
put_member(struct pass *pass, struct splice *splice,
    const struct operation *operation, const struct json_member *member)
{
	const uint8_t *value = splice->in + member->value;

	put_until(pass, splice, member->value);
	if (operation->how != PATCH_MERGE)
		put_value(pass, operation);
	else if (value[0] == '{')
		put_object(pass, value, member->value_bytes, &unlisted,
		    operation->inner, operation->inner_count);
	else
		put_record(pass, operation);
	splice->copied = member->value + member->value_bytes;
}

/* Returns the operation that names this member, or NULL. */
static const struct operation *
operation_on(const uint8_t *in, const struct json_member *member,
    const struct operation *operations, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (operation_names(
			&operations[i], in + member->key, member->key_bytes))
			return &operations[i];
	return NULL;
}

/* Puts the object at `in` with what the operations make of it; no two have the
 * same key. Says in patch->found which of them found a member. */
static void
put_object(struct pass *pass, const uint8_t *in, size_t in_bytes,
    const struct json_outline *outline, const struct operation *operations,
    size_t count)
{
	struct splice splice = {.in = in, .in_bytes = in_bytes};
	struct member_walk walk = {.next = 0};
	const struct json_member *member;

	for (size_t i = 0; i < count; i++)
		pass->patch->found[operations[i].id] = false;
	while (
	    (member = member_walk_next(&walk, in, in_bytes, outline)) != NULL) {
		const struct operation *on =
		    operation_on(in, member, operations, count);

		if (on != NULL)
			pass->patch->found[on->id] = true;
		if (on != NULL && on->how == PATCH_ERASE) {
			leave_out(pass, &splice, member);
		} else {
			if (!splice.has_member && splice.has_left_out)
				splice.copied = member->key - 1;
			splice.has_member = true;
			if (on != NULL)
				put_member(pass, &splice, on, member);
		}
		splice.end = member->value + member->value_bytes;
	}
	if (!splice.has_member && splice.has_left_out)
		splice.copied = walk.at;
	put_until(pass, &splice, walk.at);
	put_missing(pass, &splice, operations, count);
	put_until(pass, &splice, in_bytes);
}

/* Returns 0, or -1 with `why` saying for which of the operations that were done
 * the event is wrong. */
static int
check_found(const struct patch *patch, const struct operation *operations,
    size_t count, char *why, size_t why_bytes)
{
	for (size_t i = 0; i < count; i++) {
		const struct operation *operation = &operations[i];
		bool found = patch->found[operation->id];
		char key[64];

		if ((operation->how != PATCH_INSERT || !found) &&
		    (operation->how != PATCH_UPDATE || found))
			continue;
		(void)log_escape(
		    key, sizeof(key), operation->key, operation->key_bytes);
		if (found)
			(void)snprintf(why, why_bytes,
			    "insert: the key \"%s\" exists already", key);
		else
			(void)snprintf(why, why_bytes,
			    "update: there is no key \"%s\"", key);
		return -1;
	}
	return 0;
}

/* Returns how many operations one pass does, from the one at `first` on. */
static size_t
count_pass(const struct patch *patch, size_t first)
{
	size_t end = first + 1;

	while (end < patch->count && !patch->operations[end].begins_pass)
		end++;
	return end - first;
}

static void
swap(struct buf *a, struct buf *b)
{
	struct buf old = *a;

	*a = *b;
	*b = old;
}

int
patch_steps_apply(const struct patch *patch, const struct patch_event *about,
    const uint8_t *event, size_t bytes, const struct json_outline *outline,
    struct buf *buf, char *why, size_t why_bytes)
{
	struct part_values values;
	struct pass pass = {.patch = patch, .values = &values, .out = buf};
	size_t first = 0, count;

	part_values_init(&values, patch, about);
	patch->spare->max_bytes = buf->max_bytes;
	for (; first < patch->count; first += count) {
		const struct operation *operations = &patch->operations[first];

		if (first > 0) {
			swap(buf, patch->spare);
			event = buf_front(patch->spare);
			bytes = buf_bytes(patch->spare);
			outline = &unlisted;
			buf_drop(buf, buf_bytes(buf));
		}
		count = count_pass(patch, first);
		put_object(&pass, event, bytes, outline, operations, count);
		if (check_found(patch, operations, count, why, why_bytes) == -1)
			goto fail;
		if (pass.is_full) {
			(void)snprintf(why, why_bytes, "too long once patched");
			goto fail;
		}
	}
	return 0;

fail:
	buf_drop(buf, buf_bytes(buf));
	return -1;
}
