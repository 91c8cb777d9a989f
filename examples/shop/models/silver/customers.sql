-- One row for each customer, the newest that came.
select
    customer_id,
    name,
    lower(trim(email)) as email,
    split_part(lower(trim(email)), '@', 2) as email_domain,
    country,
    city,
    postal_code,
    newsletter,
    signed_up_at
from (
    select *, row_number() over (partition by customer_id order by _run desc, signed_up_at desc) as newest
    from bronze.shop_customers
)
where newest = 1
