-- The words that the operator gives a product, such as spot, for policies to look at.

ALTER TABLE products ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
