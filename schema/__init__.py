"""What clients see: the GraphQL types and fields. They wrap rows, and ask `resolvers` for everything."""
