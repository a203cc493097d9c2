#include "t/patch_reference.h"

#include "stage/json.h"
#include "stage/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* cJSON reads no number that is longer. */
#define CJSON_NUMBER_BYTES 63

bool
patch_reference_cannot(const uint8_t *in, size_t bytes)
{
	size_t number = 0;

	for (size_t i = 0; i < bytes; i++) {
		bool digit = in[i] != 0 && strchr("0123456789+-.eE", in[i]);

		number = digit ? number + 1 : 0;
		if (number > CJSON_NUMBER_BYTES)
			return true;
		if (bytes - i < 6 || in[i] != '\\' || in[i + 1] != 'u')
			continue;
		if (in[i + 2] == 'd' || in[i + 2] == 'D' ||
		    memcmp(in + i + 2, "0000", 4) == 0)
			return true;
	}
	return false;
}

/* Returns the last member of that name, or NULL. */
static const cJSON *
find(const cJSON *object, const char *name)
{
	const cJSON *found = NULL, *child;

	cJSON_ArrayForEach(child, object) if (strcmp(child->string, name) == 0)
	    found = child;
	return found;
}

/* RFC 7396, to the letter but that an object may have a key twice. Frees
 * `target`, which may be NULL: there is none. */
static cJSON *
merged(cJSON *target, const cJSON *patch)
{
	cJSON *result, *child;
	const cJSON *change;

	if (!cJSON_IsObject(patch)) {
		cJSON_Delete(target);
		return cJSON_Duplicate(patch, true);
	}
	result = cJSON_CreateObject();
	while (cJSON_IsObject(target) && target->child != NULL) {
		child = cJSON_DetachItemViaPointer(target, target->child);
		change = find(patch, child->string);
		if (cJSON_IsNull(change)) {
			cJSON_Delete(child);
		} else {
			char *name = mem_strdup(child->string);

			if (change != NULL)
				child = merged(child, change);
			(void)cJSON_AddItemToObject(result, name, child);
			free(name);
		}
	}
	cJSON_Delete(target);
	cJSON_ArrayForEach(
	    change, patch) if (!cJSON_IsNull(change) &&
			       find(result, change->string) == NULL)(void)
	    cJSON_AddItemToObject(result, change->string, merged(NULL, change));
	return result;
}

/* Puts `value` under the key wherever that is, or behind the rest. */
static void
set(cJSON *event, const char *key, const cJSON *value)
{
	cJSON *child, *other;

	if (find(event, key) == NULL)
		(void)cJSON_AddItemToObject(
		    event, key, cJSON_Duplicate(value, true));
	for (child = event->child; child != NULL; child = child->next) {
		cJSON *holder;

		if (strcmp(child->string, key) != 0)
			continue;
		/* An object gives the copy its name. */
		holder = cJSON_CreateObject();
		other = cJSON_Duplicate(value, true);
		(void)cJSON_AddItemToObject(holder, key, other);
		(void)cJSON_DetachItemViaPointer(holder, other);
		cJSON_Delete(holder);
		(void)cJSON_ReplaceItemViaPointer(event, child, other);
		child = other;
	}
}

/* Does one of the operations that have KEY=VALUE; false is an error. */
static bool
put_value(cJSON *event, enum patch_how how, const char *key, const char *text)
{
	bool exists = find(event, key) != NULL;
	const char *why;
	size_t at;
	cJSON *value;

	if ((how == PATCH_INSERT && exists) || (how == PATCH_UPDATE && !exists))
		return false;
	if (json_check((const uint8_t *)text, strlen(text), &why, &at))
		value = cJSON_Parse(text);
	else
		value = cJSON_CreateString(text);
	assert(value != NULL);
	set(event, key, value);
	cJSON_Delete(value);
	return true;
}

static cJSON *
merge_text(cJSON *event, const char *key, const char *text)
{
	cJSON *patch = cJSON_Parse(text), *around = patch, *result;

	assert(patch != NULL);
	if (key != NULL) {
		around = cJSON_CreateObject();
		(void)cJSON_AddItemToObject(around, key, patch);
	}
	result = merged(event, around);
	cJSON_Delete(around);
	return result;
}

static void
erase(cJSON *event, const char *key)
{
	cJSON *child, *next;

	for (child = event->child; child != NULL; child = next) {
		next = child->next;
		if (strcmp(child->string, key) == 0)
			cJSON_Delete(cJSON_DetachItemViaPointer(event, child));
	}
}

cJSON *
patch_reference(cJSON *event, enum patch_how how, const char *text)
{
	const char *value = text + strcspn(text, "=");
	char *key;

	if (how == PATCH_MERGE_EVENT)
		return merge_text(event, NULL, text);
	if (how == PATCH_ERASE) {
		erase(event, text);
		return event;
	}
	key = mem_strndup(text, (size_t)(value++ - text));
	if (how == PATCH_MERGE) {
		event = merge_text(event, key, value);
	} else if (!put_value(event, how, key, value)) {
		cJSON_Delete(event);
		event = NULL;
	}
	free(key);
	return event;
}
