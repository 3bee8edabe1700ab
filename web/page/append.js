// A form that appends an entry. post(text) has {status, body}, body parsed.
export function appendForm(element, {post, maxEntry}) {}
