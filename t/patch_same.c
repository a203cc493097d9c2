#include "t/patch_same.h"

#include "stage/frame.h"
#include "stage/json.h"
#include "stage/mem.h"
#include "t/patch_reference.h"
#include "walproc/patch_parts.h"

#include <cjson/cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_BYTES 128

static const struct patch_names names = {.hostname = "h", .instance = "01"};
static const struct patch_event about = {
    .seq = 42, .ingest_ns = -7, .log_id = "00ff"};

/* What came of an event. */
struct result {
	int code; /* 0, or -1 and `why` */
	struct buf buf;
	char why[WHY_BYTES];
};

static void
differ(const struct patch_same *same, const char *what)
{
	static const char *const hows[] = {
	    "insert", "upsert", "update", "erase", "merge", "merge-event"};

	(void)fprintf(stderr, "patch: %s\n", what);
	for (size_t i = 0; i < same->count; i++)
		(void)fprintf(stderr, "--%s %s\n", hows[same->steps[i].how],
		    same->steps[i].text);
	(void)fprintf(
	    stderr, "%.*s\n", (int)same->bytes, (const char *)same->event);
	abort();
}

void
patch_same_add(
    struct patch_same *same, enum patch_how how, const char *text, size_t bytes)
{
	struct patch *patch = patch_new(&names);
	char *copy = mem_strndup(text, bytes);
	char why[WHY_BYTES];

	if (same->count < PATCH_SAME_MAX_STEPS &&
	    patch_add(patch, how, copy, why, sizeof(why)) == 0) {
		same->steps[same->count].how = how;
		same->steps[same->count++].text = copy;
	} else {
		free(copy);
	}
	patch_free(patch);
}

void
patch_same_fini(struct patch_same *same)
{
	for (size_t i = 0; i < same->count; i++)
		free(same->steps[i].text);
	same->count = 0;
}

/* Makes a patch of the steps from `first` up to `end`. */
static struct patch *
compile(const struct patch_same *same, size_t first, size_t end)
{
	struct patch *patch = patch_new(&names);
	char why[WHY_BYTES];

	for (size_t i = first; i < end; i++)
		if (patch_add(patch, same->steps[i].how, same->steps[i].text,
			why, sizeof(why)) == -1)
			differ(same, "refused only in company");
	return patch;
}

/* Applies the patch to bytes; the caller frees result->buf. */
static void
apply(const struct patch_same *same, const struct patch *patch,
    const uint8_t *in, size_t bytes, struct result *result)
{
	struct json_outline outline;
	const char *wrong;
	size_t at;

	buf_init(&result->buf, FRAME_MAX_BYTES);
	result->code = 0;
	if (!json_outline(in, bytes, &outline, &wrong, &at))
		differ(same, "made no JSON");
	if (patch_is_empty(patch))
		(void)buf_append(&result->buf, in, bytes);
	else
		result->code = patch_apply(patch, &about, in, bytes, &outline,
		    &result->buf, result->why, sizeof(result->why));
	if (result->code == -1 && buf_bytes(&result->buf) > 0)
		differ(same, "an error left bytes");
}

/* Applies one operation after the other. */
static void
apply_each(const struct patch_same *same, struct result *result)
{
	result->code = 0;
	buf_init(&result->buf, FRAME_MAX_BYTES);
	(void)buf_append(&result->buf, same->event, same->bytes);
	for (size_t i = 0; result->code == 0 && i < same->count; i++) {
		struct patch *patch = compile(same, i, i + 1);
		struct buf before = result->buf;

		apply(same, patch, buf_front(&before), buf_bytes(&before),
		    result);
		buf_fini(&before);
		patch_free(patch);
	}
}

static void
compare(const struct patch_same *same, const struct result *a,
    const struct result *b, const char *what)
{
	if (a->code != b->code || buf_bytes(&a->buf) != buf_bytes(&b->buf) ||
	    memcmp(buf_front(&a->buf), buf_front(&b->buf),
		buf_bytes(&a->buf)) != 0)
		differ(same, what);
}

/* Says whether the trees can be trusted with all of it. */
static bool
is_for_trees(const struct patch_same *same)
{
	if (patch_reference_cannot(same->event, same->bytes))
		return false;
	for (size_t i = 0; i < same->count; i++) {
		const char *text = same->steps[i].text;

		if (strstr(text, "${") != NULL ||
		    patch_reference_cannot((const uint8_t *)text, strlen(text)))
			return false;
	}
	return true;
}

static void
compare_trees(const struct patch_same *same, const struct result *result)
{
	cJSON *wanted =
	    cJSON_ParseWithLength((const char *)same->event, same->bytes);
	cJSON *got;
	char *a, *b;

	for (size_t i = 0; wanted != NULL && i < same->count; i++)
		wanted = patch_reference(
		    wanted, same->steps[i].how, same->steps[i].text);
	if ((wanted == NULL) != (result->code == -1))
		differ(same, "not the error that trees say");
	if (wanted == NULL)
		return;
	got = cJSON_ParseWithLength(
	    (const char *)buf_front(&result->buf), buf_bytes(&result->buf));
	a = cJSON_PrintUnformatted(wanted);
	b = cJSON_PrintUnformatted(got);
	if (a == NULL || b == NULL || strcmp(a, b) != 0)
		differ(same, "not what trees say");
	cJSON_free(a);
	cJSON_free(b);
	cJSON_Delete(wanted);
	cJSON_Delete(got);
}

/* Returns how many operations name the member; *on is the last that does. */
static size_t
naming(const uint8_t *in, const struct json_member *member,
    const struct operation *operations, size_t count,
    const struct operation **on)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		if (json_key_equals(in + member->key, member->key_bytes,
			operations[i].key, operations[i].key_bytes)) {
			n++;
			*on = &operations[i];
		}
	return n;
}

/* Finds the next member whose bytes stay, or stay but for those in it: then
 * *on is the merge, else NULL. */
static bool
next_kept(const uint8_t *in, size_t bytes, size_t *at,
    const struct operation *operations, size_t count,
    struct json_member *member, const struct operation **on)
{
	while (json_next_member(in, bytes, at, member)) {
		*on = NULL;
		switch (naming(in, member, operations, count, on)) {
		case 0:
			return true;
		case 1:
			if ((*on)->how == PATCH_MERGE)
				return true;
		}
	}
	return false;
}

/* Holds what became of an object against it: each key that stays, and each
 * value but those that were merged, has its bytes. */
static void
compare_kept(const struct patch_same *same, const uint8_t *old,
    size_t old_bytes, const uint8_t *new, size_t new_bytes,
    const struct operation *operations, size_t count)
{
	size_t old_at = 0, new_at = 0;
	struct json_member a, b;
	const struct operation *on, *new_on;

	while (next_kept(old, old_bytes, &old_at, operations, count, &a, &on)) {
		if (!next_kept(new, new_bytes, &new_at, operations, count, &b,
			&new_on) ||
		    a.key_bytes != b.key_bytes ||
		    memcmp(old + a.key, new + b.key, a.key_bytes) != 0)
			differ(same, "a key did not stay");
		if (on != NULL && old[a.value] == '{')
			compare_kept(same, old + a.value, a.value_bytes,
			    new + b.value, b.value_bytes, on->inner,
			    on->inner_count);
		if (on == NULL && (a.value_bytes != b.value_bytes ||
				      memcmp(old + a.value, new + b.value,
					  a.value_bytes) != 0))
			differ(same, "a value did not stay");
	}
}

void
patch_same_try(const struct patch_same *same)
{
	struct patch *patch = compile(same, 0, same->count);
	struct result all, each, steps;

	apply(same, patch, same->event, same->bytes, &all);
	apply_each(same, &each);
	compare(same, &all, &each, "not the same one after the other");
	if (is_for_trees(same))
		compare_trees(same, &all);
	if (all.code == 0)
		compare_kept(same, same->event, same->bytes,
		    buf_front(&all.buf), buf_bytes(&all.buf), patch->operations,
		    patch->count);
	patch->is_plain = patch->has_tail = false;
	apply(same, patch, same->event, same->bytes, &steps);
	compare(same, &all, &steps, "not the same as others are done");
	buf_fini(&all.buf);
	buf_fini(&each.buf);
	buf_fini(&steps.buf);
	patch_free(patch);
}
