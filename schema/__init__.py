"""The GraphQL types and fields. They wrap rows, and call `resolvers` for everything else."""
