#include "stage/number.h"

#include <stddef.h>
#include <string.h>

/* Reads digits up to `end`, at least one; -1 on anything else or overflow. */
static int
parse_digits(const char *text, const char *end, uint64_t *value)
{
	uint64_t v = 0;

	if (text == end)
		return -1;
	for (; text != end; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
			return -1;
	}
	*value = v;
	return 0;
}

int
number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	const char *end = text;
	uint64_t v;

	while (*end != '\0')
		end++;
	if (parse_digits(text, end, &v) == -1 || v < min || v > max)
		return -1;
	*value = v;
	return 0;
}

int
number_parse_seconds(
    const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ms)
{
	static const uint64_t scale[] = {1000, 100, 10, 1};
	const char *point = text, *end;
	uint64_t whole, part = 0;

	while (*point != '\0' && *point != '.')
		point++;
	end = point;
	while (*end != '\0')
		end++;
	if (parse_digits(text, point, &whole) == -1)
		return -1;
	if (point != end) {
		size_t digits = (size_t)(end - point - 1);

		if (digits > 3 || parse_digits(point + 1, end, &part) == -1)
			return -1;
		part *= scale[digits];
	}
	if (__builtin_mul_overflow(whole, UINT64_C(1000), &whole) ||
	    __builtin_add_overflow(whole, part, &whole))
		return -1;
	if (whole < min_ms || whole > max_ms)
		return -1;
	*ms = whole;
	return 0;
}

uint8_t *
number_put(uint8_t *to, uint64_t v)
{
	/* Divisions are what takes time, and each event has numbers. */
	static const char pairs[] = "00010203040506070809"
				    "10111213141516171819"
				    "20212223242526272829"
				    "30313233343536373839"
				    "40414243444546474849"
				    "50515253545556575859"
				    "60616263646566676869"
				    "70717273747576777879"
				    "80818283848586878889"
				    "90919293949596979899";
	uint8_t digits[NUMBER_MAX_BYTES];
	size_t first = sizeof(digits);

	for (; v >= 10000; v /= 10000) {
		unsigned low = (unsigned)(v % 10000);

		first -= 4;
		memcpy(digits + first, pairs + low / 100 * 2, 2);
		memcpy(digits + first + 2, pairs + low % 100 * 2, 2);
	}
	for (; v >= 100; v /= 100) {
		first -= 2;
		memcpy(digits + first, pairs + v % 100 * 2, 2);
	}
	first -= 2;
	memcpy(digits + first, pairs + v * 2, 2);
	/* What was below ten has a zero before it. */
	first += v < 10;
	memcpy(to, digits + first, sizeof(digits) - first);
	return to + sizeof(digits) - first;
}
