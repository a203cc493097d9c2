/*
 * Requests from any bytes: one is known by its command, or refused in an
 * answer that is a line of JSON.
 */
#include "stage/json.h"
#include "supervisor/request.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	enum request_verb verb = REQUEST_VERBS;
	const char *why = NULL;
	char *answer;
	size_t at;

	if (request_parse(data, bytes, &verb, &why) == 0) {
		const char *line = request_line(verb);

		assert(verb < REQUEST_VERBS && bytes <= REQUEST_MAX_BYTES);
		assert(request_parse((const uint8_t *)line, strlen(line) - 1,
			   &verb, &why) == 0);
		assert(request_line(verb) == line);
		return 0;
	}
	assert(verb == REQUEST_VERBS && why != NULL);
	answer = request_error(why);
	assert(strchr(answer, '\n') == NULL);
	assert(json_check((const uint8_t *)answer, strlen(answer), &why, &at));
	free(answer);
	return 0;
}
