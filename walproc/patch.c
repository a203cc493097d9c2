#include "walproc/patch.h"

#include "stage/json.h"
#include "stage/mem.h"
#include "walproc/patch_compile.h"
#include "walproc/patch_parts.h"

#include <stdlib.h>
#include <string.h>

/* Longer ones are put by the operation. */
#define TAIL_MAX_BYTES ((size_t)64 << 10)

struct patch *
patch_new(const struct patch_names *names)
{
	struct patch *patch = mem_calloc(1, sizeof(*patch));

	patch->names = *names;
	patch->is_plain = patch->has_tail = true;
	buf_init(&patch->tail, TAIL_MAX_BYTES);
	patch->spare = mem_alloc(sizeof(*patch->spare));
	buf_init(patch->spare, 0);
	return patch;
}

void
patch_free(struct patch *patch)
{
	if (patch == NULL)
		return;
	for (size_t i = 0; i < patch->count; i++)
		patch_compile_fini(&patch->operations[i]);
	free(patch->operations);
	buf_fini(&patch->tail);
	buf_fini(patch->spare);
	free(patch->spare);
	free(patch->found);
	free(patch);
}

bool
patch_uses_time(const struct patch *patch)
{
	return patch->uses[PART_INGEST_NS];
}

bool
patch_is_empty(const struct patch *patch)
{
	return patch->count == 0;
}

/* Makes ready what is done to events that have none of the keys. */
static void
add_to_tail(struct patch *patch, const struct operation *operation)
{
	const struct buf *text = &operation->parts[0].text;

	/* Behind an empty key there is its closing quote. */
	patch->may_begin[operation->key_bytes == 0 ? '"' : operation->key[0]] =
	    true;
	patch->may_begin['\\'] = true;
	if (operation->count > 1 || operation->parts[0].kind != PART_TEXT ||
	    buf_append(&patch->tail, buf_front(text), buf_bytes(text)) == -1)
		patch->has_tail = false;
}

/* Gives ids to the operation and those in it, and notes what they use. */
static void
number(struct patch *patch, struct operation *operation)
{
	operation->id = patch->ids++;
	for (size_t i = 0; i < operation->count; i++)
		patch->uses[operation->parts[i].kind] = true;
	for (size_t i = 0; i < operation->inner_count; i++)
		number(patch, &operation->inner[i]);
}

/* Says whether an operation of the present pass has the same key. */
static bool
is_in_pass(const struct patch *patch, const struct operation *operation)
{
	for (size_t i = patch->count; i-- > 0;) {
		const struct operation *other = &patch->operations[i];

		if (other->key_bytes == operation->key_bytes &&
		    memcmp(other->key, operation->key, other->key_bytes) == 0)
			return true;
		if (other->begins_pass)
			break;
	}
	return false;
}

/* Adds a compiled operation, which is the patch's from here on. */
static void
add_operation(struct patch *patch, struct operation operation)
{
	operation.begins_pass = is_in_pass(patch, &operation);
	if (operation.begins_pass || patch->count == PATCH_MAX_PLAIN ||
	    (operation.how != PATCH_INSERT && operation.how != PATCH_UPSERT))
		patch->is_plain = patch->has_tail = false;
	number(patch, &operation);
	patch->operations = mem_realloc(
	    patch->operations, patch->count + 1, sizeof(*patch->operations));
	patch->operations[patch->count++] = operation;
	add_to_tail(patch, &operation);
}

int
patch_add(struct patch *patch, enum patch_how how, const char *text, char *why,
    size_t why_bytes)
{
	struct operation operation;

	if (patch_compile(
		&operation, &patch->names, how, text, why, why_bytes) == -1)
		return -1;
	if (how != PATCH_MERGE_EVENT) {
		add_operation(patch, operation);
	} else {
		for (size_t i = 0; i < operation.inner_count; i++)
			add_operation(patch, operation.inner[i]);
		operation.inner_count = 0;
		patch_compile_fini(&operation);
	}
	patch->found =
	    mem_realloc(patch->found, patch->ids, sizeof(*patch->found));
	return 0;
}
