// What load.js needs of Node: the environment, which a page has in its address.
export const process = { env: Object.fromEntries(new URLSearchParams(location.search)) };
