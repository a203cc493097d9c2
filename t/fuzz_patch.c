/*
 * Operations on an event: lines that begin with the letter of one, up to the
 * first that does not; from there on it is the event.
 */
#include "stage/json.h"
#include "t/patch_same.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* insert, upsert, update, erase, merge, merge-event */
static const char letters[] = "iupemM";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct patch_same same = {.count = 0};
	const uint8_t *end = data + bytes, *line_end;
	struct json_outline outline;
	const char *why;
	size_t at;

	while (data < end && *data != '\0' && strchr(letters, *data) != NULL &&
	       (line_end = memchr(data, '\n', (size_t)(end - data))) != NULL) {
		const char *how = strchr(letters, *data);

		patch_same_add(&same, (enum patch_how)(how - letters),
		    (const char *)data + 1, (size_t)(line_end - data - 1));
		data = line_end + 1;
	}
	same.event = data;
	same.bytes = (size_t)(end - data);
	if (same.count > 0 &&
	    json_outline(data, same.bytes, &outline, &why, &at) &&
	    outline.is_object)
		patch_same_try(&same);
	patch_same_fini(&same);
	return 0;
}
